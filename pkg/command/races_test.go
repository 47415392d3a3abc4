package command

import (
	"context"
	"sync"
	"testing"
	"time"
)

// races is how often, on a real Redis; an embedded one runs one script after the other anyway.
const races, embeddedRaces = 1000, 50

// raced runs things at the same time, often, each time with a new command that a and b
// can be handed, and then a check.
func raced(t *testing.T, change func(*New), race func(w *world, id string) (all []func(), check func(c *Command))) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a", "b")
		n := races
		if w.server == nil {
			n = embeddedRaces
		}
		for range n {
			id := w.create(change)
			things, check := race(w, id)
			begin := make(chan struct{})
			var all sync.WaitGroup
			for _, f := range things {
				all.Go(func() { <-begin; f() })
			}
			close(begin)
			all.Wait()
			if check(w.read(id)); t.Failed() {
				return
			}
		}
	})
}

// A peer was handed the command, or it was cancelled before; the ends agree.
func TestCancelAgainstClaim(t *testing.T) {
	raced(t, func(n *New) { n.TTL = time.Minute; n.Expect = 1 }, func(w *world, id string) ([]func(), func(*Command)) {
		var claimed *Claim
		var cancelled *Command
		var err error
		things := []func(){
			func() { claimed = w.claim(id, false, "a") },
			func() { cancelled, err = w.store.Cancel(context.Background(), "app", id) },
		}
		return things, func(c *Command) {
			if err != nil {
				w.t.Fatal(err)
			}
			handed := len(claimed.HandedOver)
			if c.Status != Cancelled || c.Counts.Sent != handed || cancelled.Counts != c.Counts || len(c.Answers) != handed {
				w.t.Errorf("handed to %d, and redis has %+v, and had %+v when it was cancelled", handed, c, cancelled)
			}
		}
	})
}

// Two nodes claim for one peer with a connection on each: one gets it.
func TestTwoNodesClaim(t *testing.T) {
	raced(t, nil, func(w *world, id string) ([]func(), func(*Command)) {
		var one, other *Claim
		things := []func(){func() { one = w.claim(id, true, "a", "b") }, func() { other = w.claim(id, false, "b", "a") }}
		return things, func(c *Command) {
			if n := len(one.HandedOver) + len(other.HandedOver); n != 2 || c.Counts.Sent != 2 {
				w.t.Errorf("handed over %d times to two peers: %+v", n, c)
			}
		}
	})
}

// Of two final answers one stands, and both senders hear so.
func TestAnswerAgainstAnswer(t *testing.T) {
	raced(t, func(n *New) { n.Expect = 1 }, func(w *world, id string) ([]func(), func(*Command)) {
		w.claim(id, false, "a")
		var succeeded, failed AnswerOutcome
		things := []func(){
			func() { succeeded = w.answer(id, "a", Succeeded, "") },
			func() { failed = w.answer(id, "a", Failed, "") },
		}
		return things, func(c *Command) {
			first := c.Status == Succeeded && succeeded == Taken && failed == AnswerFinal
			second := c.Status == Failed && failed == Taken && succeeded == AnswerFinal
			if !first && !second {
				w.t.Errorf("outcomes %d and %d, and the command ended as %s", succeeded, failed, c.Status)
			}
		}
	})
}

// An answer at the instant of the timeout comes before it, or is late; never both.
func TestAnswerAgainstTimeout(t *testing.T) {
	raced(t, func(n *New) { n.Expect = 1; n.Timeout = time.Second }, func(w *world, id string) ([]func(), func(*Command)) {
		w.claim(id, false, "a")
		var outcome AnswerOutcome
		things := []func(){
			func() { outcome = w.answer(id, "a", Succeeded, "") },
			func() { w.pass(1000) },
			func() { w.read(id) },
		}
		return things, func(c *Command) {
			a := c.Answers[0]
			onTime := outcome == Taken && c.Status == Succeeded && a.Late == nil
			late := outcome == TakenLate && c.Status == TimedOut && a.Status == TimedOut && a.Late != nil
			if !onTime && !late {
				w.t.Errorf("outcome %d, command %+v", outcome, c)
			}
		}
	})
}

// A connection's end takes a hand-over back while the peer confirms it: it is handed
// over again, or confirmed.
func TestTakeBackAgainstReceived(t *testing.T) {
	raced(t, func(n *New) { n.TTL = time.Minute; n.Expect = 1 }, func(w *world, id string) ([]func(), func(*Command)) {
		w.claim(id, true, "a")
		var again *Claim
		things := []func(){
			func() { w.answer(id, "a", Received, "") },
			func() { w.takeBack(id) },
			func() { again = w.claim(id, true, "a") },
		}
		return things, func(c *Command) {
			if a := c.Answers[0]; a.Attempt != 1+len(again.HandedOver) || a.Status != Received && a.Status != Sent {
				w.t.Errorf("handed over again %d times, and %+v", len(again.HandedOver), a)
			}
			if _, err := w.store.Cancel(context.Background(), "app", id); err != nil {
				w.t.Error(err)
			}
		}
	})
}

// Requests with one idempotency key make one command.
func TestOneKeyManyRequests(t *testing.T) {
	raced(t, nil, func(w *world, id string) ([]func(), func(*Command)) {
		var mu sync.Mutex
		ids, fresh := map[string]bool{}, 0
		things := make([]func(), 8)
		for i := range things {
			things[i] = func() {
				created, err := w.store.Create(context.Background(), w.with(func(n *New) { n.IdempotencyKey = id }))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					w.t.Error(err)
				}
				if ids[created.ID] = true; !created.Repeated {
					fresh++
				}
			}
		}
		return things, func(*Command) {
			if len(ids) != 1 || fresh != 1 {
				w.t.Errorf("%d commands, %d of them new", len(ids), fresh)
			}
		}
	})
}
