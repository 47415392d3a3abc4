package quota

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// HoldersKept is for how long Redis knows of a node that held connections of an app
// and has not been heard of since.
const HoldersKept = time.Hour

// Holder is a node that holds, or held, connections of an app.
type Holder struct {
	Node string
	// Silent is how long ago its lease ran out; 0: it has not. A node that is silent
	// may be dead, or cut off from Redis and alive.
	Silent time.Duration
}

// Holders returns the nodes that may hold connections of the app. When Redis has
// lost its data a moment ago, it waits until all nodes have stated theirs again.
func Holders(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace, app string) ([]Holder, error) {
	for first := true; ; first = false {
		p := rdb.Pipeline()
		clock := redisconn.Clock(ctx, rdb, p, keys.ConnectionLeases(app))
		leases := p.ZRangeWithScores(ctx, keys.ConnectionLeases(app), 0, -1)
		epoch := p.Get(ctx, epochOf(rdb, keys, keys.ConnectionLeases(app)))
		if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		now := clock.Val()
		if wait := restating(epoch.Val(), now, first); wait > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(wait):
			}
			continue
		}
		var holders []Holder
		for _, lease := range leases.Val() {
			silent := max(0, now.Sub(time.UnixMilli(int64(lease.Score))))
			if node, ok := lease.Member.(string); ok && silent < HoldersKept {
				holders = append(holders, Holder{node, silent})
			}
		}
		return holders, nil
	}
}

// restating is how long it takes until all nodes have stated what they hold, after
// the epoch has begun. Without an epoch there may be nodes that have yet to notice
// that it is gone: they are given the time for it once.
func restating(epoch string, now time.Time, first bool) time.Duration {
	if epoch == "" {
		if first {
			return 2 * epochCheck
		}
		return 0
	}
	_, rest, _ := strings.Cut(epoch, ":")
	began, _, _ := strings.Cut(rest, ":") // behind it is the server
	ms, err := strconv.ParseInt(began, 10, 64)
	age := now.Sub(time.UnixMilli(ms))
	if err != nil || age < 0 || age >= restateTime {
		return 0
	}
	return restateTime - age
}
