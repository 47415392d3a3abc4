package redisconn

import (
	"context"
	"errors"
	"sync"
)

// maxCoalesced bounds what goes out in one round trip, so that Redis is never
// busy with one pipeline for long.
const maxCoalesced = 256

// Coalescer lets callers that wait at the same time share one round trip. The
// first goes out at once; those that come while it is under way ride together in
// the next. No goroutine runs while nothing waits.
type Coalescer[T any] struct {
	run     func(context.Context, []T) error
	mu      sync.Mutex
	waiting []*coalesced[T]
	busy    bool
}

type coalesced[T any] struct {
	one  T
	err  error // why it was not sent
	done chan struct{}
}

// NewCoalescer returns a Coalescer whose round trips run makes, one at a time,
// in the order of the calls of Do. Its error says whether Redis answered; what
// the answer is to each, run leaves with it.
func NewCoalescer[T any](run func(context.Context, []T) error) *Coalescer[T] {
	return &Coalescer[T]{run: run}
}

// Do has one take part in a round trip, and returns after it. With an error it
// took part in none, as far as is known: ctx ended, or Redis hangs.
func (c *Coalescer[T]) Do(ctx context.Context, one T) error {
	w := &coalesced[T]{one: one, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, w)
	start := !c.busy
	c.busy = true
	c.mu.Unlock()
	if start {
		go c.flush()
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Coalescer[T]) flush() {
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

		together := make([]T, len(batch))
		for i, w := range batch {
			together[i] = w.one
		}
		ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
		err := c.run(ctx, together)
		cancel()
		for _, w := range batch {
			close(w.done)
		}
		clear(batch) // the slice lives on in waiting; let go of what was answered
		if timedOut(err) {
			c.turnAway(err)
		}
	}
}

// turnAway answers all that wait: a Redis that hangs must not cost each of them
// a timeout of its own, one after the other.
func (c *Coalescer[T]) turnAway(err error) {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, w := range waiting {
		w.err = err
		close(w.done)
	}
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
