package redisconn

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
)

// maxCoalesced bounds the calls of one round trip, so that Redis is never busy
// with one pipeline for long.
const maxCoalesced = 256

// Coalescer lets script calls that wait at the same time share one round trip.
// The first caller goes out at once; those that come while it is under way ride
// together in the next. No goroutine runs while nothing waits.
type Coalescer struct {
	rdb     redis.UniversalClient
	mu      sync.Mutex
	waiting []*coalesced
	busy    bool
}

type coalesced struct {
	call *Call
	err  error // why it was not sent
	done chan struct{}
}

// NewCoalescer returns a Coalescer for rdb.
func NewCoalescer(rdb redis.UniversalClient) *Coalescer { return &Coalescer{rdb: rdb} }

// Do runs the call and waits for its reply, or for ctx to end.
func (c *Coalescer) Do(ctx context.Context, call *Call) error {
	one := &coalesced{call: call, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, one)
	start := !c.busy
	c.busy = true
	c.mu.Unlock()
	if start {
		go c.flush()
	}
	select {
	case <-one.done:
		if one.err != nil {
			return one.err
		}
		return call.Reply.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Coalescer) flush() {
	for {
		c.mu.Lock()
		batch := c.waiting
		if len(batch) == 0 {
			c.busy = false
			c.mu.Unlock()
			return
		}
		if len(batch) > maxCoalesced {
			batch = batch[:maxCoalesced:maxCoalesced]
		}
		c.waiting = c.waiting[len(batch):]
		c.mu.Unlock()

		calls := make([]*Call, len(batch))
		for i, one := range batch {
			calls[i] = one.call
		}
		ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
		err := Exec(ctx, c.rdb, calls) // each caller reads its own reply
		cancel()
		for _, one := range batch {
			close(one.done)
		}
		clear(batch) // the slice lives on in waiting; let go of what was answered
		if timedOut(err) {
			c.turnAway(err)
		}
	}
}

// turnAway answers all that wait: a Redis that hangs must not cost each of them
// a timeout of its own, one after the other.
func (c *Coalescer) turnAway(err error) {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, one := range waiting {
		one.err = err
		close(one.done)
	}
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
