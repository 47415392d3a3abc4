package quota

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// maxChecks bounds the checks of one round trip, checkTimeout how long it takes.
	maxChecks    = 256
	checkTimeout = 1500 * time.Millisecond
)

var errAway = errors.New("redis is away")

// RateLimiter bounds REST requests per key and connects per client address,
// across all nodes and functions. Checks that wait at the same time share one
// round trip to Redis, and those of one bucket one script.
type RateLimiter struct {
	requests batch.Batcher[*request]
	connects batch.Batcher[*connect]
	health   *redisconn.Health // or nil
	keys     rediskeys.Namespace
}

// NewRateLimiter returns a RateLimiter that counts in rdb.
func NewRateLimiter(rdb redis.UniversalClient, keys rediskeys.Namespace) *RateLimiter {
	return &RateLimiter{
		keys: keys,
		requests: batch.Batcher[*request]{Most: maxChecks, Timeout: checkTimeout, Run: func(ctx context.Context, requests []*request) error {
			return ofAll(rdb, takeTokens(ctx, rdb, requests))
		}},
		connects: batch.Batcher[*connect]{Most: maxChecks, Timeout: checkTimeout, Run: func(ctx context.Context, connects []*connect) error {
			return ofAll(rdb, countConnects(ctx, rdb, keys, connects))
		}},
	}
}

// ofAll is an error that turns away the checks that wait. On a Redis Cluster there is none: it
// is one master's, and those that wait may need others.
func ofAll(rdb redis.UniversalClient, err error) error {
	if redisconn.IsCluster(rdb) {
		return nil
	}
	return err
}

// request is one REST request that asks for a token.
type request struct {
	bucket Bucket // while an apps document is replaced, there may be two of a key

	passes bool
	wait   time.Duration // until the next token, if it does not pass
	err    error
}

// takeTokens has all requests of one bucket take their tokens at once, the first
// what there are.
func takeTokens(ctx context.Context, rdb redis.UniversalClient, requests []*request) error {
	asked := make(map[Bucket]int, 1)
	place := make([]int, len(requests)) // among those of its bucket, from 1
	for i, r := range requests {
		asked[r.bucket]++
		place[i] = asked[r.bucket]
	}
	var calls []*redisconn.Call
	of := make(map[Bucket]*redisconn.Call, len(asked))
	for b, n := range asked {
		of[b] = b.Take(n)
		calls = append(calls, of[b])
	}
	err := redisconn.Exec(ctx, rdb, calls)
	for i, r := range requests {
		var got int
		var next time.Duration
		if got, next, r.err = Taken(of[r.bucket]); r.err != nil {
			continue
		}
		if r.passes = place[i] <= got; !r.passes {
			r.wait = next
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
	r := &request{bucket: RESTBucket(l.keys, key)}
	if l.away(r.bucket.Key) {
		return false, 0, errAway
	}
	if err = l.requests.Do(ctx, r); err == nil {
		err = r.err
	}
	l.observe(ctx, r.bucket.Key, err)
	if err != nil {
		return false, 0, err
	}
	return r.passes, r.wait, nil
}

func (l *RateLimiter) away(key string) bool { return l.health != nil && !l.health.UpAt(key) }

// observe tells how a check of the key went, unless the caller gave up.
func (l *RateLimiter) observe(ctx context.Context, key string, err error) {
	if err != nil && l.health != nil && ctx.Err() == nil {
		l.health.ObserveAt(key, err)
	}
}
