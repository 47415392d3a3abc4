package quota

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
)

var errAway = errors.New("redis is away")

// RateLimiter bounds REST requests per key and connects per client address,
// across all nodes and functions. Checks that wait at the same time share one
// round trip to Redis, and those of one bucket one script.
type RateLimiter struct {
	checks   *redisconn.Coalescer[*check]
	connects *redisconn.Coalescer[*connect]
	health   *redisconn.Health // or nil
}

// check is one request or connect that asks to pass.
type check struct {
	script *redis.Script
	key    string
	limits [2]any // the script's arguments after how many ask
	passes func(r verdict) bool

	verdict
	err error
}

// verdict is a script's answer to those that asked together.
type verdict struct {
	asked, place int64 // how many they are, and which of them this is, from 1
	n, wait      int64 // what the script returned
}

// NewRateLimiter returns a RateLimiter that counts in rdb.
func NewRateLimiter(rdb redis.UniversalClient) *RateLimiter {
	return &RateLimiter{
		checks: redisconn.NewCoalescer(func(ctx context.Context, checks []*check) error {
			return ask(ctx, rdb, checks)
		}),
		connects: redisconn.NewCoalescer(func(ctx context.Context, connects []*connect) error {
			return countConnects(ctx, rdb, connects)
		}),
	}
}

// ask has all checks of one bucket take their places in one script.
func ask(ctx context.Context, rdb redis.UniversalClient, checks []*check) error {
	type bucket struct {
		key    string
		limits [2]any // while an apps document is replaced, there may be two of a key
	}
	var calls []*redisconn.Call
	together := make(map[bucket]int, 1) // which of calls
	of := make([]int, len(checks))
	var asked []int64
	for i, c := range checks {
		b := bucket{c.key, c.limits}
		n, ok := together[b]
		if !ok {
			n = len(calls)
			together[b] = n
			calls = append(calls, &redisconn.Call{Script: c.script, Keys: []string{c.key}})
			asked = append(asked, 0)
		}
		asked[n]++
		of[i], c.place = n, asked[n]
		calls[n].Args = []any{asked[n], c.limits[0], c.limits[1]}
	}
	err := redisconn.Exec(ctx, rdb, calls)
	for i, c := range checks {
		var reply []int64
		if reply, c.err = calls[of[i]].Reply.Int64Slice(); c.err == nil {
			c.asked, c.n, c.wait = asked[of[i]], reply[0], reply[1]
		}
	}
	return err
}

// Watch makes checks fail at once while h says that Redis is away, instead of
// each waiting for a timeout, and tells h how those go that are made. It must
// come before the first check.
func (l *RateLimiter) Watch(h *redisconn.Health) { l.health = h }

// AllowREST takes one request from the key's bucket (its app's restPerSec and
// restBurst). When it is empty, retryAfter says when the next request may pass.
func (l *RateLimiter) AllowREST(ctx context.Context, key *apps.Key) (ok bool, retryAfter time.Duration, err error) {
	b := RESTBucket(key)
	return l.run(ctx, &check{
		script: ratesScript,
		key:    b.Key,
		limits: [2]any{b.PerSec, b.Burst},
		passes: func(v verdict) bool { return v.place <= v.n },
	})
}

func (l *RateLimiter) run(ctx context.Context, c *check) (bool, time.Duration, error) {
	if l.away() {
		return false, 0, errAway
	}
	err := l.checks.Do(ctx, c)
	if err == nil {
		err = c.err
	}
	l.observe(ctx, err)
	if err != nil {
		return false, 0, err
	}
	if c.passes(c.verdict) {
		return true, 0, nil
	}
	return false, time.Duration(c.wait) * time.Millisecond, nil
}

func (l *RateLimiter) away() bool { return l.health != nil && !l.health.Up() }

// observe tells how a check went, unless the caller gave up.
func (l *RateLimiter) observe(ctx context.Context, err error) {
	if err != nil && l.health != nil && ctx.Err() == nil {
		l.health.Observe(err)
	}
}
