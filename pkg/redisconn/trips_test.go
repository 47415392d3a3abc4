package redisconn_test

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const patience = 10 * time.Second

// trips counts a client's round trips, and can hold them up.
type trips struct {
	pipelines atomic.Int64
	largest   atomic.Int64
	mu        sync.Mutex
	gate      chan struct{} // nil: open
	held      chan struct{} // gets a value for each round trip that is held up
	lost      error         // takes the place of Redis's answer; set while nothing is under way
}

func countTrips(rdb *redis.Client) *trips {
	t := &trips{held: make(chan struct{}, 1000)}
	rdb.AddHook(t)
	return t
}

// hold stops round trips until the returned function is called.
func (t *trips) hold() (release func()) {
	gate := make(chan struct{})
	t.mu.Lock()
	t.gate = gate
	t.mu.Unlock()
	return func() {
		t.mu.Lock()
		t.gate = nil
		t.mu.Unlock()
		close(gate)
	}
}

func (t *trips) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (t *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (t *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		t.pipelines.Add(1)
		t.largest.Store(max(t.largest.Load(), int64(len(cmds))))
		t.mu.Lock()
		gate := t.gate
		t.mu.Unlock()
		if gate != nil {
			t.held <- struct{}{}
			<-gate
		}
		if t.lost != nil {
			for _, cmd := range cmds {
				cmd.SetErr(t.lost)
			}
			return t.lost
		}
		return next(ctx, cmds)
	}
}
