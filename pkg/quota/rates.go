package quota

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
)

var (
	//go:embed rates.lua
	ratesLua string
	//go:embed connects.lua
	connectsLua string

	ratesScript    = redis.NewScript(ratesLua)
	connectsScript = redis.NewScript(connectsLua)

	errAway = errors.New("redis is away")
)

// connectWindow is the window of connectsPerAddressPerMin (protocol §6).
const connectWindow = 60 * time.Second

// RateLimiter bounds REST requests per key and connects per client address,
// across all nodes and functions. Checks that wait at the same time share one
// round trip to Redis.
type RateLimiter struct {
	redis  *redisconn.Coalescer
	health *redisconn.Health // or nil
}

// NewRateLimiter returns a RateLimiter that counts in rdb.
func NewRateLimiter(rdb redis.UniversalClient) *RateLimiter {
	return &RateLimiter{redis: redisconn.NewCoalescer(rdb)}
}

// Watch makes checks fail at once while h says that Redis is away, instead of
// each waiting for a timeout, and tells h how those go that are made. It must
// come before the first check.
func (l *RateLimiter) Watch(h *redisconn.Health) { l.health = h }

// AllowREST takes one request from the key's bucket (its app's restPerSec and
// restBurst). When it is empty, retryAfter says when the next request may pass.
func (l *RateLimiter) AllowREST(ctx context.Context, key *apps.Key) (ok bool, retryAfter time.Duration, err error) {
	return l.run(ctx, &redisconn.Call{
		Script: ratesScript,
		Keys:   []string{"fw:{" + key.App.ID + "}:rest:" + key.ID},
		Args:   []any{key.App.Limits.RESTPerSec, key.App.Limits.RESTBurst},
	}, func(n int64) bool { return n == 1 })
}

// AllowConnect counts a connect of a client address towards an app ("" for a
// credential that names no app) and says whether it is within perMinute. When
// it is not, retryAfter says when the address's window ends.
func (l *RateLimiter) AllowConnect(ctx context.Context, appID, address string, perMinute int) (ok bool, retryAfter time.Duration, err error) {
	return l.run(ctx, &redisconn.Call{
		Script: connectsScript,
		Keys:   []string{"fw:{" + appID + "}:connects:" + address},
		Args:   []any{connectWindow.Milliseconds()},
	}, func(n int64) bool { return n <= int64(perMinute) })
}

func (l *RateLimiter) run(ctx context.Context, call *redisconn.Call, passes func(int64) bool) (bool, time.Duration, error) {
	if l.health != nil && !l.health.Up() {
		return false, 0, errAway
	}
	if err := l.redis.Do(ctx, call); err != nil {
		if l.health != nil && ctx.Err() == nil {
			l.health.Observe(err)
		}
		return false, 0, err
	}
	reply, err := call.Reply.Int64Slice()
	if err != nil {
		return false, 0, err
	}
	if passes(reply[0]) {
		return true, 0, nil
	}
	return false, time.Duration(reply[1]) * time.Millisecond, nil
}
