package redisconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// maxTogether is how many commands of different pipelines share a round trip at
// most, so that Redis is never busy with one for long.
const maxTogether = 1024

// together is a hook that has pipelines share round trips, whoever made them: the
// first goes out at once; those that come while it is under way go out together
// when it is back. Most of what a small pipeline costs, here and in Redis, is the
// round trip.
type together struct {
	mu      sync.Mutex
	waiting []*rider
	busy    bool
}

// goesAlone are the first commands of pipelines that have a round trip of their own:
// transactions, and what sets a connection up, which may happen within a round trip
// and would wait for it for ever.
var goesAlone = map[string]bool{"multi": true, "hello": true, "auth": true, "select": true, "readonly": true, "client": true}

// rider is a pipeline that waits for its round trip.
type rider struct {
	cmds []redis.Cmder
	turn chan bool // true: go, and take along whoever waits; false: the answers are there
}

func (t *together) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (t *together) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (t *together) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) > 0 && goesAlone[cmds[0].Name()] || ctx.Value(alone{}) != nil {
			return next(ctx, cmds)
		}
		t.mu.Lock()
		if !t.busy {
			t.busy = true
			t.mu.Unlock()
			return t.trip(ctx, next, cmds)
		}
		r := &rider{cmds, make(chan bool, 1)}
		t.waiting = append(t.waiting, r)
		t.mu.Unlock()
		if t.wait(ctx, r) {
			t.lead(ctx, next, r)
		}
		return firstError(cmds)
	}
}

type alone struct{}

// Alone has a pipeline with this context share no round trip, for one that must
// not wait for another's: Redis may have stopped answering that one.
func Alone(ctx context.Context) context.Context { return context.WithValue(ctx, alone{}, true) }

// wait waits for the rider's turn, and says whether it is to lead. A rider whose
// context ends before its round trip has begun takes part in none.
func (t *together) wait(ctx context.Context, r *rider) (lead bool) {
	select {
	case lead = <-r.turn:
		return lead
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.waiting, r)
	if i < 0 || len(r.turn) > 0 { // it is under way, or has been told to lead
		t.mu.Unlock()
		return <-r.turn
	}
	t.waiting = slices.Delete(slices.Clone(t.waiting), i, i+1)
	t.mu.Unlock()
	stamp(r.cmds, fmt.Errorf("%w: %w", errNotSent, ctx.Err()))
	return false
}

// lead makes a round trip for r, the first of those that wait, and for the others.
func (t *together) lead(ctx context.Context, next redis.ProcessPipelineHook, r *rider) {
	t.mu.Lock()
	n, size := 0, 0
	for n < len(t.waiting) && (n == 0 || size+len(t.waiting[n].cmds) <= maxTogether) {
		size += len(t.waiting[n].cmds)
		n++
	}
	along := t.waiting[:n:n]
	t.waiting = t.waiting[n:]
	t.mu.Unlock()
	if n == 1 {
		_ = t.trip(ctx, next, r.cmds)
		return
	}
	all := make([]redis.Cmder, 0, size)
	for _, one := range along {
		all = append(all, one.cmds...)
	}
	// One caller's impatience is not the others'.
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), ioTimeout)
	defer cancel()
	answered := false
	defer func() {
		for _, one := range along[1:] {
			if !answered { // a panic
				stamp(one.cmds, errors.New("the round trip to Redis was broken off"))
			}
			one.turn <- false
		}
		clear(along) // the slice lives on in waiting; let go of what was answered
	}()
	_ = t.trip(patient, next, all)
	answered = true
}

// trip makes a round trip, and has the next begin, also should it panic.
func (t *together) trip(ctx context.Context, next redis.ProcessPipelineHook, cmds []redis.Cmder) (err error) {
	defer func() { t.back(err) }()
	return next(ctx, cmds)
}

// back has the next round trip begin. After one that Redis let run into its
// timeout, all that wait are turned away: they must not each wait for their own.
func (t *together) back(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if timedOut(err) {
		for _, r := range t.waiting {
			stamp(r.cmds, fmt.Errorf("%w: %w", errNotSent, err))
			r.turn <- false
		}
		t.waiting = nil
	}
	if len(t.waiting) == 0 {
		t.busy, t.waiting = false, nil
		return
	}
	t.waiting[0].turn <- true
}

func stamp(cmds []redis.Cmder, err error) {
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
}

// firstError is what a pipeline by itself returns.
func firstError(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return err
		}
	}
	return nil
}
