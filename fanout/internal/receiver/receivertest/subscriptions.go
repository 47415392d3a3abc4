package receivertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn/redistest"
)

// testSubscriptions looks at what comes in, rather than at what a node keeps of it.
func testSubscriptions(t *testing.T, s *system) {
	n, from := s.node(), s.publisher()
	p, _ := channel.Compile("p/*")
	same, _ := channel.Compile("p/***") // another pattern, one Redis glob
	publishAll := func() {
		publish(t, from, "app", "c", "1")
		publish(t, from, "app", "p/1", "1")
	}
	expect := func(when string, want int) {
		t.Helper()
		n.mu.Lock()
		n.got = nil
		n.mu.Unlock()
		publishAll()
		if got := n.settle(from); len(got) != want {
			t.Errorf("%s: %d messages, want %d", when, len(got), want)
		}
	}
	add := func(p *channel.Pattern) {
		n.confirm(func(done func(error)) error { return n.AddPattern("app", p, done) })
	}
	n.names[name{envelope.KindMessages, "app", "c"}] = true
	n.patterns[name{kind: envelope.KindMessages, app: "app"}] = []*channel.Pattern{p}

	n.confirm(func(done func(error)) error { return n.SetSubscribers("app", "c", 2, done) })
	add(p)
	add(p)
	add(same)
	expect("all wanted", 2)
	n.RemovePattern("app", p)
	n.RemovePattern("app", same)
	expect("the pattern is still wanted once", 2)

	// On and off and on again, faster than Redis confirms.
	for i := range 100 {
		if err := n.SetSubscribers("app", "c", i%2, nil); err != nil {
			t.Fatal(err)
		}
		n.RemovePattern("app", p)
		if err := n.AddPattern("app", p, func(error) {}); err != nil {
			t.Fatal(err)
		}
	}
	n.RemovePattern("app", p)
	add(p) // on a cluster the channel's confirmation says nothing of the pattern: other masters have its buckets
	n.confirm(func(done func(error)) error { return n.SetSubscribers("app", "c", 5, done) })
	expect("after flapping", 2)
	if got := count(t, from, "app", "c"); got != 5 {
		t.Errorf("%d subscribers after flapping, want 5", got)
	}

	n.RemovePattern("app", p)
	n.RemovePattern("app", p) // once too often
	n.confirm(func(done func(error)) error { return n.SetSubscribers("app", "c", 0, done) })
	redistest.Eventually(t, patience, "Redis has dropped the pattern", func() bool {
		return s.wildcards() == 0
	})
	expect("nothing wanted", 0)
	// A channel that was never wanted is confirmed too.
	n.confirm(func(done func(error)) error { return n.SetSubscribers("app", "never wanted", 0, done) })
}

// testChurn changes subscriptions from many goroutines at once, half of them waiting
// for confirmation, and looks at what is left when the dust has settled.
func testChurn(t *testing.T, s *system) {
	const goroutines, changes, names = 16, 60, 10
	n, from := s.node(), s.publisher()
	var asked, answered atomic.Int64
	var all sync.WaitGroup
	for g := range goroutines {
		// Each goroutine has a channel of its own, and all share a few.
		rng := rand.New(rand.NewPCG(1, uint64(g)))
		all.Go(func() {
			for range changes {
				name := fmt.Sprint("shared", rng.IntN(names))
				if rng.IntN(2) == 0 {
					name = fmt.Sprint("own", g)
				}
				var calls atomic.Int64
				answer := make(chan error, 1)
				done := func(err error) {
					answered.Add(1)
					if calls.Add(1) > 1 {
						err = errTwice
					}
					answer <- err
				}
				wait := rng.IntN(2) == 0
				var p *channel.Pattern
				switch rng.IntN(4) {
				case 0:
					p, _ = channel.Compile(name + "/*")
					if err := n.AddPattern("app", p, done); err != nil {
						t.Errorf("AddPattern: %v", err)
						return
					}
					asked.Add(1)
				case 1:
					if err := n.SetSubscribers("app", name, rng.IntN(3), nil); err != nil {
						t.Errorf("SetSubscribers: %v", err)
					}
					continue
				default:
					if err := n.SetSubscribers("app", name, rng.IntN(3), done); err != nil {
						t.Errorf("SetSubscribers: %v", err)
						return
					}
					asked.Add(1)
				}
				if wait {
					if err := receive(t, answer, "done"); err != nil {
						t.Errorf("done: %v", err)
					}
				}
				if p != nil {
					n.RemovePattern("app", p)
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	for i := range names {
		n.subscribe("app", fmt.Sprint("shared", i), i)
	}
	for g := range goroutines {
		n.subscribe("app", fmt.Sprint("own", g), 1)
	}
	n.settle(from)
	if asked.Load() != answered.Load() {
		t.Errorf("%d changes asked for an answer, %d answers", asked.Load(), answered.Load())
	}
	for i := range names {
		if got := count(t, from, "app", fmt.Sprint("shared", i)); got != int64(i) {
			t.Errorf("%d subscribers of shared%d, want %d", got, i, i)
		}
	}
	for g := range goroutines {
		if got := count(t, from, "app", fmt.Sprint("own", g)); got != 1 {
			t.Errorf("%d subscribers of own%d, want 1", got, g)
		}
	}
	if got := n.settle(from); len(got) != names-1+goroutines {
		t.Errorf("%d messages, want one on each of %d channels", len(got), names-1+goroutines)
	}
	if patterns := s.wildcards(); patterns != 0 {
		t.Errorf("%d patterns are left in Redis, want 0", patterns)
	}
}

// testDoneAsksForMore calls back into the receiver from done, as a hub may.
func testDoneAsksForMore(t *testing.T, s *system) {
	n := s.node()
	p, _ := channel.Compile("p/*")
	last := make(chan error, 1)
	var step func(i int) func(error)
	step = func(i int) func(error) {
		return func(err error) {
			if err != nil || i == 0 {
				last <- err
				return
			}
			n.Live()
			n.RemovePattern("app", p)
			if i%2 == 0 {
				err = n.AddPattern("app", p, step(i-1))
			} else {
				err = n.SetSubscribers("app", "c", i%3, step(i-1))
			}
			if err != nil {
				last <- err
			}
		}
	}
	if err := n.SetSubscribers("app", "c", 1, step(50)); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, last, "the last of a row of confirmations"); err != nil {
		t.Error(err)
	}
}

// testDoneComesLater: callers hold a lock that done takes.
func testDoneComesLater(t *testing.T, s *system) {
	n := s.node()
	p, _ := channel.Compile("p/*")
	var mu sync.Mutex
	answers := make(chan error, 4)
	done := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		answers <- err
	}
	mu.Lock()
	for _, err := range []error{
		n.SetSubscribers("app", "c", 1, done),
		n.SetSubscribers("app", "c", 0, done),
		n.SetSubscribers("app", "never wanted", 0, done),
		n.AddPattern("app", p, done),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	mu.Unlock()
	for range 4 {
		if err := receive(t, answers, "done"); err != nil {
			t.Error(err)
		}
	}
}

func testDownBeforeRun(t *testing.T, s *system) {
	r, _ := s.receiver(s.Client())
	p, _ := channel.Compile("p/*")
	never := func(error) { t.Error("done was called although the call was refused") }
	if err := r.SetSubscribers("app", "c", 1, never); !errors.Is(err, receiver.ErrDown) {
		t.Errorf("SetSubscribers before Run: %v, want ErrDown", err)
	}
	if err := r.AddPattern("app", p, never); !errors.Is(err, receiver.ErrDown) {
		t.Errorf("AddPattern before Run: %v, want ErrDown", err)
	}
	// Without done it is kept for when the link comes up.
	if err := r.SetSubscribers("app", "c", 1, nil); err != nil {
		t.Errorf("SetSubscribers without done: %v", err)
	}
	r.RemovePattern("app", p)
}
