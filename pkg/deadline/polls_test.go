package deadline

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// calendar runs workers by a Redis's clock that the test turns.
type calendar struct {
	t       *testing.T
	set     func(time.Time)
	now     time.Time
	workers []*Worker
	next    []time.Time // of each worker's turn
}

// pass runs all turns of so much time, and returns how many there were, and the
// longest time without one.
func (c *calendar) pass(d time.Duration) (polls int, gap time.Duration) {
	c.t.Helper()
	last := c.now
	for end := c.now.Add(d); ; polls++ {
		first := 0
		for i, at := range c.next {
			if at.Before(c.next[first]) {
				first = i
			}
		}
		if len(c.next) == 0 || c.next[first].After(end) {
			c.now = end
			c.set(end)
			return polls, gap
		}
		c.now = c.next[first]
		c.set(c.now)
		gap, last = max(gap, c.now.Sub(last)), c.now
		wait, err := c.workers[first].poll(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		c.workers[first].rounds.Wait()
		c.next[first] = c.now.Add(wait)
	}
}

func newCalendar(t *testing.T, nodes int) (*calendar, *owner) {
	m, rdb := redistest.Embedded(t)
	o := newOwner(t, rdb, Commands)
	c := &calendar{t: t, set: m.SetTime, now: time.UnixMilli(1_767_222_000_000)}
	m.SetTime(c.now)
	for i := range nodes {
		w := o.worker(slog.New(slog.DiscardHandler))
		w.pace = defaultPace
		w.opt.Apps = func() []string { return nil }
		c.workers = append(c.workers, w)
		c.next = append(c.next, c.now.Add(time.Duration(i)*time.Millisecond))
	}
	return c, o
}

// Idle, all nodes together send fewer than 5 commands a second, however many apps
// have deadlines that are not due. Yet one looks all the time.
func TestIdleCost(t *testing.T) {
	for _, nodes := range []int{1, 3, 12} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			c, o := newCalendar(t, nodes)
			for app := range 100 {
				o.setIn(fmt.Sprint("app", app), "c", time.Hour)
			}
			c.pass(15 * time.Second) // the touches are forgotten
			var sent int
			o.rdb.AddHook(counting{&sent})
			const seconds = 60
			polls, gap := c.pass(seconds * time.Second)
			if sent >= 5*seconds {
				t.Errorf("%d commands in %d s", sent, seconds)
			}
			if sent != polls {
				t.Errorf("%d commands in %d turns", sent, polls)
			}
			if gap > 500*time.Millisecond {
				t.Errorf("nobody looked for %v", gap)
			}
		})
	}
}

// By Redis's clock, deadlines are seen to within a second, and not before.
func TestWithinASecond(t *testing.T) {
	c, o := newCalendar(t, 3)
	c.pass(time.Second)
	at := map[string]time.Time{}
	for i := range 300 {
		name, after := fmt.Sprint("c", i), time.Duration(i*37)*time.Millisecond
		o.set(name, after)
		at[name] = c.now.Add(after)
	}
	for range 150 {
		c.pass(100 * time.Millisecond)
		for name, due := range at {
			if fired := o.fired(name) > 0; fired && c.now.Before(due) || !fired && c.now.After(due.Add(time.Second)) {
				t.Fatalf("%s, due in %v: %v", name, due.Sub(c.now), fired)
			}
		}
	}
}

// A node that died misses its turns, once. Others do not wait for it.
func TestMissedTurns(t *testing.T) {
	c, _ := newCalendar(t, 3)
	c.pass(10 * time.Second)
	c.workers, c.next = c.workers[:1], c.next[:1]
	if _, gap := c.pass(10 * time.Second); gap > 4*defaultPace.step {
		t.Errorf("nobody looked for %v", gap)
	}
	if polls, gap := c.pass(10 * time.Second); gap > defaultPace.step || polls < 20 {
		t.Errorf("then one alone: %d turns, and none for %v", polls, gap)
	}
}

// Redis's clock is set back, or ahead: nodes go on taking turns.
func TestClockStep(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		c, o := newCalendar(t, 2)
		c.pass(10 * time.Second)
		c.now = c.now.Add(step)
		for i := range c.next {
			c.next[i] = c.next[i].Add(step)
		}
		c.set(c.now)
		if _, gap := c.pass(20 * time.Second); gap > 2*defaultPace.most {
			t.Errorf("%v: nobody looked for %v", step, gap)
		}
		o.set("c", time.Second)
		c.pass(10 * time.Second)
		o.expect("c")
	}
}

// setIn is set for another app.
func (o *owner) setIn(app, name string, after time.Duration) {
	o.t.Helper()
	bucket := keys.Bucket(app, name)
	write := &redisconn.Call{Script: setScript, Keys: []string{bucket.Due(string(o.kind))}, Args: []any{name, after.Milliseconds()}}
	if err := redisconn.Exec(o.t.Context(), o.rdb, []*redisconn.Call{Touch(keys, Set{o.kind, bucket, after}), write}); err != nil {
		o.t.Error(err)
	}
}
