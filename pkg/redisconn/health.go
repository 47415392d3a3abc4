package redisconn

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

const (
	// probeUp and probeDown are how often Redis is asked whether it is there,
	// while it is and while it is not. The second bounds how long a node still
	// refuses work after Redis came back.
	probeUp   = time.Second
	probeDown = 200 * time.Millisecond
)

// Health knows whether Redis is there and takes writes, so that callers are refused at once
// while it is not, instead of each waiting for a timeout.
type Health struct {
	rdb  redis.UniversalClient
	keys rediskeys.Namespace
	log  *slog.Logger
	down atomic.Bool
	wake chan struct{}
}

// NewHealth starts out believing that Redis is there. Run keeps it true.
func NewHealth(rdb redis.UniversalClient, keys rediskeys.Namespace, log *slog.Logger) *Health {
	return &Health{rdb: rdb, keys: keys, log: log, wake: make(chan struct{}, 1)}
}

// Up says whether Redis answered last time.
func (h *Health) Up() bool { return !h.down.Load() }

// Observe takes the outcome of any call to Redis. An error that is not a reply
// of Redis itself (a refused connection, a timeout) means that Redis is away
// until a probe has reached it.
func (h *Health) Observe(err error) {
	if err == nil || !Unreachable(err) {
		return
	}
	if h.down.CompareAndSwap(false, true) {
		h.log.Error("redis is away: publishes are refused and new connections turned back until it answers", "err", err)
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}

// Unreachable says whether err means that Redis did not answer, in contrast to
// an answer that is an error, or a caller that gave up. LOADING, READONLY and
// the like are answers, but from a Redis that takes no writes at all.
func Unreachable(err error) bool {
	var reply redis.Error
	if errors.As(err, &reply) {
		for _, prefix := range []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN"} {
			if redis.HasErrorPrefix(err, prefix) {
				return true
			}
		}
		return false
	}
	return !errors.Is(err, context.Canceled)
}

// Run probes Redis until ctx ends.
func (h *Health) Run(ctx context.Context) {
	for {
		interval := probeUp
		if !h.Up() {
			interval = probeDown
		}
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-h.wake:
			timer.Stop()
		}
		probing, cancel := context.WithTimeout(ctx, ioTimeout)
		err := probe(probing, h.rdb, h.keys)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			h.Observe(err)
		case h.down.CompareAndSwap(true, false):
			h.log.Info("redis is back")
		}
	}
}
