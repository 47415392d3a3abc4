package presence

import (
	"context"

	"fleetwire/pkg/rediskeys"
)

// reapedAtOnce bounds the channels of one run of change.lua while reaping, so
// that Redis is never busy with one for long.
const reapedAtOnce = 50

// reap takes everything that a dead identity had out of Redis. Several may do
// that at the same time; what one has done the others find done.
func (s *store) reap(ctx context.Context, node string) error {
	buckets, err := s.redis.SMembers(ctx, s.keys.LeaseBuckets(node)).Result()
	if err != nil {
		return err
	}
	for _, text := range buckets {
		bucket, _, err := s.keys.ParseBucket(text)
		if err != nil {
			return err
		}
		if err := s.reapBucket(ctx, node, bucket); err != nil {
			return err
		}
	}
	p := s.redis.Pipeline()
	p.Del(ctx, s.keys.LeaseBuckets(node))
	p.ZRem(ctx, s.keys.DeadLeases(), node)
	p.ZRem(ctx, s.keys.Leases(), node)
	_, err = p.Exec(ctx)
	return err
}

func (s *store) reapBucket(ctx context.Context, node string, bucket rediskeys.Bucket) error {
	for {
		channels, err := s.redis.SRandMemberN(ctx, bucket.Joined(node), reapedAtOnce).Result()
		if err != nil {
			return err
		}
		if len(channels) == 0 {
			return s.reapCounts(ctx, node, bucket)
		}
		call := s.newChange(bucket, node)
		for _, name := range channels {
			call.channel(name, "-", "*")
		}
		if err := s.change(ctx, []*changeCall{call}); err != nil {
			return err
		}
	}
}

// reapCounts takes out how many connections of the node were subscribed to the
// bucket's channels, which pkg/broker keeps under the same identity.
func (s *store) reapCounts(ctx context.Context, node string, bucket rediskeys.Bucket) error {
	p := s.redis.Pipeline()
	p.Del(ctx, bucket.Subscribers(node))
	p.SRem(ctx, bucket.SubscriberNodes(), node)
	p.Del(ctx, bucket.PeerConnections(node))
	p.SRem(ctx, bucket.PeerNodes(), node)
	_, err := p.Exec(ctx)
	return err
}
