package commands

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
)

// All peers of a channel are claimed for in one step, each once: for the connection that
// has subscribed last.
func TestCreated(t *testing.T) {
	inBubble(t, func(w *world) {
		a, b := w.device("a", false), w.device("b", false)
		old := w.device("c", false)
		c := w.device("c", true)
		w.deliver(delivery("c", "one", 0))
		w.did("claim one for a b c!")
		for _, d := range []*device{a, b, c} {
			d.has("one")
		}
		old.has()
		w.deliver(delivery("elsewhere", "two", 0))
		w.did()
	})
}

func TestOneClaimHasABound(t *testing.T) {
	inBubble(t, func(w *world) {
		for i := range maxPeers + 1 {
			w.device(fmt.Sprint("p", i), false)
		}
		w.deliver(delivery("c", "one", 0))
		synctest.Wait()
		if len(w.calls) != 2 {
			t.Errorf("%d claims for %d peers, want 2", len(w.calls), maxPeers+1)
		}
	})
}

// Waiting commands come in portions, each when the socket has taken the one before; then the
// subscription is over its beginning.
func TestEnter(t *testing.T) {
	inBubble(t, func(w *world) {
		w.wait("1", "2", "3", "4", "5")
		a := w.device("a", false)
		a.full = true
		over := a.enters()
		w.did("look c", "claim  for a")
		w.deliver(delivery("c", "live", 0)) // behind what waits
		w.did()
		a.takes()
		a.has("1", "2")
		w.did("claim  for a")
		a.full = false
		a.takes()
		w.did("claim  for a", "claim live for a")
		a.has("3", "4", "5", "live")
		<-over
		w.deliver(delivery("c", "six", time.Minute))
		w.did("claim six for a")
		a.has("six")
	})
}

func TestNothingWaits(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", true)
		<-a.enters()
		w.did("look c")
		if len(w.d.lines)+len(w.d.ofConnection) > 0 {
			t.Error("something is remembered of a subscription for which nothing waited")
		}
	})
}

// A command that comes between the subscription in Redis and its ack is not lost.
func TestCreatedBeforeEnter(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", false)
		a.entering.Store(true)
		w.deliver(delivery("c", "now", 0))
		w.deliver(delivery("c", "later", time.Minute))
		w.did()
		w.wait("later")
		over := a.enters()
		<-over
		w.did("look c", "claim  for a", "claim now for a")
		a.has("later", "now")
	})
	inBubble(t, func(w *world) { // it is too late for a command without a TTL
		a := w.device("a", false)
		a.entering.Store(true)
		w.deliver(delivery("c", "now", 0))
		time.Sleep(command.Grace)
		<-a.enters()
		w.did("look c")
		a.has()
	})
}

// Redis does not answer: live messages do not wait, and the node asks again.
func TestRedisIsAway(t *testing.T) {
	inBubble(t, func(w *world) {
		b := w.device("b", false)
		w.set(true)
		a := w.device("a", false)
		<-a.enters()
		w.did("look c")
		w.deliver(delivery("c", "one", 0))
		w.deliver(delivery("c", "two", time.Minute))
		synctest.Wait()
		w.mu.Lock()
		w.calls, w.away, w.waiting = nil, false, []string{"two"}
		w.mu.Unlock()
		time.Sleep(lookAgain)
		synctest.Wait()
		if got := append(a.got, b.got...); len(got) < 3 {
			t.Errorf("a and b got %q", got)
		}
		time.Sleep(lookAgain)
		synctest.Wait()
		if n := len(w.d.lines); n > 0 {
			t.Errorf("%d lines are left", n)
		}
	})
}

// A subscriber that confirms has one command at a time.
func TestConfirm(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", true)
		w.deliver(delivery("c", "one", 0))
		w.deliver(delivery("c", "two", 0))
		w.deliver(delivery("c", "three", time.Minute))
		w.wait("three")
		w.did("claim one for a!")
		a.has("one")
		by := &answerer{}
		w.d.Answer(command.Answer{App: "app", Peer: "a", ID: "one", Status: command.Received}, by)
		w.did("one of a: received", "claim  for a!") // in the order of creation, as far as Redis knows it
		if by.err != nil || !by.flushed {
			t.Errorf("told %+v", by)
		}
		a.has("three")
		w.d.Answer(command.Answer{App: "app", Peer: "b", ID: "three", Status: command.Succeeded}, by) // somebody else's
		w.did("three of b: succeeded")
		w.d.Answer(command.Answer{App: "app", Peer: "a", ID: "three", Status: command.Succeeded}, by)
		w.did("three of a: succeeded", "claim two for a!")
		a.has("two")
		w.deliver(delivery("c", "four", 0))
		w.did()
		w.holds("two a", true)
		time.Sleep(lookAgain)
		w.did()
		w.holds("two a", false) // it was confirmed on another node
		time.Sleep(lookAgain)
		w.did() // four was for those who were there: its 2 s are over
		a.leaves()
		w.did()
	})
}

func TestTakeBack(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", true)
		w.deliver(delivery("c", "one", time.Minute))
		w.did("claim one for a!")
		again := w.device("a", true)
		w.set(true)
		a.leaves()
		w.did("take back one of a from n1")
		w.set(false)
		time.Sleep(lookAgain)
		w.did("take back one of a from n1")
		// Redis tells the nodes.
		w.wait("one")
		w.device("b", true)
		w.deliver(stage(delivery("c", "one", time.Minute), envelope.CommandTakenBack, "a"))
		w.did("claim  for a!")
		again.has("one")
		again.leaves()
		w.did("take back one of a from n1")
		if len(w.d.lines)+len(w.d.ofConnection)+len(w.d.handed) > 0 {
			t.Error("something is remembered of connections that have ended")
		}
	})
}

func TestCancelled(t *testing.T) {
	inBubble(t, func(w *world) {
		a, b, plain := w.device("a", true), w.device("b", true), w.device("p", false)
		one := delivery("c", "one", time.Minute)
		w.deliver(one)
		w.did("claim one for a! b! p")
		for _, d := range []*device{a, b, plain} {
			d.has("one")
		}
		w.holds("one a", true)
		w.deliver(stage(one, envelope.CommandCancelled, ""))
		synctest.Wait()
		w.deliver(delivery("c", "two", 0))
		w.did("claim two for a! p") // b has yet to confirm
		plain.has("two")
		b.has()
	})
}

// The TTL ends while the frame is queued: it is never written.
func TestVoidWhenWritten(t *testing.T) {
	inBubble(t, func(w *world) {
		w.claims = func(c *command.Claim, i int) *command.HandedOver {
			return &command.HandedOver{Peer: i, ID: c.ID, Attempt: 1, ExpiresIn: time.Second, Timeout: time.Second}
		}
		a := w.device("a", false)
		a.full = true
		w.deliver(delivery("c", "one", time.Minute))
		w.did("claim one for a")
		time.Sleep(time.Second)
		a.takes()
		a.has()
	})
}

// The dispatcher looks for commands that it missed while the link was down.
func TestRestored(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", false)
		w.wait("one")
		w.set(true)
		w.d.Restored()
		w.did("look c")
		w.set(false)
		time.Sleep(lookAgain)
		w.did("look c", "claim  for a")
		a.has("one")
	})
}

// It goes on where Redis did not answer.
func TestRestoredGoesOn(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", false)
		for i := range maxLooks {
			if err := w.hub.Subscribe(a, "app", fmt.Sprint("c", i), hub.Options{}, func(error) {}); err != nil {
				t.Fatal(err)
			}
		}
		w.awayAt = maxLooks + 1
		w.d.Restored()
		looks := func() int {
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			n := len(w.calls)
			w.calls = nil
			return n
		}
		if n := looks(); n != maxLooks+1 {
			t.Errorf("%d channels are looked at until Redis is away", n)
		}
		w.set(false)
		time.Sleep(lookAgain)
		if n := looks(); n != 1 {
			t.Errorf("%d channels are looked at when it is back, want the last alone", n)
		}
	})
}

func TestRefusals(t *testing.T) {
	inBubble(t, func(w *world) {
		for outcome, want := range map[command.AnswerOutcome]protocol.Code{
			command.Taken: "", command.TakenLate: "", command.AnswerFinal: protocol.CommandFinal, command.AnswerNotFound: protocol.CommandNotFound,
		} {
			w.outcome = outcome
			by := &answerer{}
			w.d.Answer(command.Answer{ID: "one"}, by)
			synctest.Wait()
			if by.err == nil && want != "" || by.err != nil && by.err.Code != want || !by.flushed {
				t.Errorf("%d: told %+v, want %q", outcome, by, want)
			}
		}
		w.set(true)
		by := &answerer{}
		w.d.Answer(command.Answer{ID: "one"}, by)
		synctest.Wait()
		if by.err == nil || by.err.Code != protocol.BackendError || by.err.Outcome != protocol.OutcomeUnknown {
			t.Errorf("told %+v", by.err)
		}
	})
}

// Redis answers a subscription's look for commands when that is over, and the same connection
// subscribes anew. Nothing is handed over before the new subscription's ack.
func TestLookIsAnsweredAfterTheSubscription(t *testing.T) {
	for name, subscribes := range map[string]bool{"subscribed anew": true, "unsubscribed": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				a := w.device("a", false)
				anew := &device{w: w, id: a.id, peer: "a"}
				anew.entering.Store(true)
				w.looks = func() {
					w.looks = nil
					w.hub.Unsubscribe(a, "app", "c")
					w.wait("one")
					if subscribes {
						_ = w.hub.Subscribe(anew, "app", "c", hub.Options{}, func(error) {})
					}
				}
				over := a.enters()
				w.did("look c")
				if !subscribes {
					<-over
					return
				}
				over = anew.enters()
				w.did("look c", "claim  for a")
				<-over
				a.has()
				anew.has("one")
			})
		})
	}
}
