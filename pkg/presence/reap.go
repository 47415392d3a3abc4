package presence

import (
	"context"
	"fmt"
	"strings"
)

// reapedAtOnce bounds the channels of one run of change.lua while reaping, so
// that Redis is never busy with one for long.
const reapedAtOnce = 50

// reap takes everything that a dead identity had out of Redis. Several may do
// that at the same time; what one has done the others find done.
func (s *store) reap(ctx context.Context, node string) error {
	buckets, err := s.redis.SMembers(ctx, bucketsKey+node).Result()
	if err != nil {
		return err
	}
	for _, bucket := range buckets {
		if err := s.reapBucket(ctx, node, bucket); err != nil {
			return err
		}
	}
	p := s.redis.Pipeline()
	p.Del(ctx, bucketsKey+node)
	p.ZRem(ctx, deadKey, node)
	p.ZRem(ctx, leasesKey, node)
	_, err = p.Exec(ctx)
	return err
}

func (s *store) reapBucket(ctx context.Context, node, bucket string) error {
	app, err := appOf(bucket)
	if err != nil {
		return err
	}
	for {
		channels, err := s.redis.SRandMemberN(ctx, index(bucket, node), reapedAtOnce).Result()
		if err != nil || len(channels) == 0 {
			return err
		}
		call := s.newChange(bucket, node)
		for _, name := range channels {
			call.channel(ChannelID{app, name}, "-", "*")
		}
		if err := s.change(ctx, []*changeCall{call}); err != nil {
			return err
		}
	}
}

// appOf undoes broker.Bucket. App ids contain neither '.' nor '}'.
func appOf(bucket string) (string, error) {
	if rest, ok := strings.CutPrefix(bucket, "fw:{"); ok {
		if app, _, ok := strings.Cut(rest, "."); ok {
			return app, nil
		}
	}
	return "", fmt.Errorf("%q is not a bucket of an app", bucket)
}
