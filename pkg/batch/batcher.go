package batch

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// ErrBroken says that Run panicked during the item's trip, so what became of the item
// is not known.
var ErrBroken = errors.New("the trip was broken off")

// A Batcher makes one trip at a time, with items in the order of the calls of Do. The
// callers make the trips themselves, so no goroutine runs for them. The exported fields
// must be set before the first Do.
type Batcher[T any] struct {
	// Run makes a trip for the items, and leaves with each what became of it. It must
	// not keep the slice. After an error that is a timeout all that wait are turned
	// away: they must not each run into one of their own.
	//
	// ctx is the caller's if the item goes alone. A shared trip has one that ends after
	// Timeout, since one caller's impatience is not the others'.
	Run func(ctx context.Context, items []T) error
	// Most bounds a trip, so that Redis is never busy with one for long. It bounds the
	// sum of the items' sizes; an item that is larger goes alone.
	Most    int
	Size    func(T) int // nil: each counts 1
	Timeout time.Duration

	mu      sync.Mutex
	busy    bool // a trip is under way, or the first of waiting is about to make one
	waiting []*rider[T]

	items []T // empty; room for the items of a trip, which its leader owns
}

// rider is a caller that waits for its trip.
type rider[T any] struct {
	item T
	err  error
	wake chan bool // true: lead a trip; false: the trip is over
}

// Do makes a trip with the item, or has it take part in another caller's, and returns
// when that is over. After an error other than ErrBroken the item took part in none:
// ctx ended before the trip began, or the trip before ran into a timeout.
func (b *Batcher[T]) Do(ctx context.Context, item T) error {
	b.mu.Lock()
	if !b.busy {
		b.busy = true
		b.mu.Unlock()
		b.trip(ctx, append(b.items, item))
		return nil
	}
	r := &rider[T]{item: item, wake: make(chan bool, 1)}
	b.waiting = append(b.waiting, r)
	b.mu.Unlock()
	if b.wait(ctx, r) {
		b.lead(ctx)
	}
	return r.err
}

// Waiting is how many callers wait for a trip to begin.
func (b *Batcher[T]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// wait waits until the rider is woken, and says whether it is to lead.
func (b *Batcher[T]) wait(ctx context.Context, r *rider[T]) (lead bool) {
	select {
	case lead = <-r.wake:
		return lead
	case <-ctx.Done():
	}
	b.mu.Lock()
	i := slices.Index(b.waiting, r)
	if i < 0 || len(r.wake) > 0 { // it is under way, or was told to lead
		b.mu.Unlock()
		return <-r.wake
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	b.mu.Unlock()
	r.err = ctx.Err()
	return false
}

// lead makes a trip for the first of those that wait, which is the caller, and for as
// many others as there is room for.
func (b *Batcher[T]) lead(ctx context.Context) {
	items := b.items
	b.mu.Lock()
	for size := 0; len(items) < len(b.waiting); {
		item := b.waiting[len(items)].item
		if size += b.size(item); size > b.Most && len(items) > 0 {
			break
		}
		items = append(items, item)
	}
	riders := Take(&b.waiting, len(items))
	b.mu.Unlock()
	if len(riders) > 1 {
		var cancel func()
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), b.Timeout)
		defer cancel()
	}
	broken := ErrBroken
	defer func() {
		for _, r := range riders[1:] {
			r.err = broken
			r.wake <- false
		}
		clear(riders) // the array lives on in waiting; let go of what was answered
	}()
	b.trip(ctx, items)
	broken = nil
}

func (b *Batcher[T]) size(item T) int {
	if b.Size == nil {
		return 1
	}
	return b.Size(item)
}

// trip makes a trip, and has the next begin, also if Run panics.
func (b *Batcher[T]) trip(ctx context.Context, items []T) {
	var err error
	defer func() {
		clear(items)
		b.items = items[:0]
		b.next(err)
	}()
	err = b.Run(ctx, items)
}

// next has the first of those that wait lead the next trip.
func (b *Batcher[T]) next(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if timedOut(err) {
		for _, r := range b.waiting {
			r.err = err
			r.wake <- false
		}
		b.waiting = nil
	}
	if b.busy = len(b.waiting) > 0; b.busy {
		b.waiting[0].wake <- true
	}
}

func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
