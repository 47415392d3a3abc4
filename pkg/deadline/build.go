package deadline

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

// buildPause is between two apps, so that Redis is never busy with the index for long.
const buildPause = 5 * time.Millisecond

// build finds everything that has deadlines, and puts it into the index, which was
// lost, or never was. Touch indexes deadlines that are set meanwhile, as always.
func (w *Worker) build(ctx context.Context) error {
	for _, app := range w.opt.Apps() {
		found, err := w.find(ctx, app)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			if err := w.settle(ctx, found, "1"); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(buildPause):
		}
	}
	return w.settle(ctx, nil, "whole")
}

// find finds the app's buckets that have deadlines, in one round trip. Where they have
// some of one kind, a round of each looks when the next is due.
func (w *Worker) find(ctx context.Context, app string) (found []*bucket, err error) {
	kinds := slices.Sorted(maps.Keys(w.opt.Handlers))
	p := w.opt.Redis.Pipeline()
	var buckets []rediskeys.Bucket
	var exist []*redis.IntCmd
	for b := range w.opt.Keys.Buckets(app) {
		sets := make([]string, len(kinds))
		for i, kind := range kinds {
			sets[i] = b.Due(string(kind))
		}
		buckets, exist = append(buckets, b), append(exist, p.Exists(ctx, sets...))
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, err
	}
	for i, b := range buckets {
		for _, kind := range kinds {
			if exist[i].Val() > 0 {
				found = append(found, &bucket{member: Member(kind, b)})
			}
		}
	}
	return found, nil
}
