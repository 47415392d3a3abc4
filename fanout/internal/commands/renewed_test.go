package commands

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/command"
)

// handovers are the ways in which a peer is handed the command one. Each calls while, once, when
// Redis is asked for it.
var handovers = map[string]struct {
	confirms bool
	hand     func(w *world, a *device, while func())
}{
	"as it is created": {false, func(w *world, a *device, while func()) {
		w.claimed = while
		w.deliver(delivery("c", "one", 0))
	}},
	"as it is created, to a peer that confirms": {true, func(w *world, a *device, while func()) {
		w.claimed = while
		w.deliver(delivery("c", "one", time.Minute))
	}},
	"because it waits": {false, func(w *world, a *device, while func()) {
		w.wait("one")
		w.claimed = while
		a.enters()
	}},
	"because it waits, to a peer that confirms": {true, func(w *world, a *device, while func()) {
		w.wait("one")
		w.claimed = while
		a.enters()
	}},
	"in the step that creates it": {false, func(w *world, a *device, while func()) {
		w.creates = func(n command.New) (command.Created, error) {
			while()
			w.deliver(atCreation("one"))
			return command.Created{ID: n.ID, Handed: true}, nil
		}
		created, err := w.d.Create(w.t.Context(), newCommand("one"))
		if err != nil || !created.Handed {
			w.t.Errorf("created %+v, %v", created, err)
		}
	}},
}

// again has the connection of a unsubscribe and subscribe again. The new subscription has yet to enter.
func (d *device) again() *device {
	anew := &device{w: d.w, id: d.id, peer: d.peer, confirms: d.confirms}
	anew.entering.Store(true)
	d.w.hub.Unsubscribe(d, "app", "c")
	if err := d.w.hub.Subscribe(anew, "app", "c", hub.Options{Confirms: d.confirms}, func(error) {}); err != nil {
		d.w.t.Error(err)
	}
	return anew
}

// asked is what was asked of the store since the last time.
func (w *world) asked() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := strings.Join(w.calls, ", ")
	w.calls = nil
	return asked
}

// emptied checks that nothing is remembered.
func (w *world) emptied() {
	w.t.Helper()
	synctest.Wait()
	if n := len(w.d.lines) + len(w.d.ofConnection) + len(w.d.handed); n > 0 {
		w.t.Errorf("%d things are remembered of subscriptions that are over", n)
	}
}

// A peer unsubscribes and subscribes again while a claim for it is on its way. It is written the
// command behind the ack of the new subscribe: enters is called then.
func TestClaimIsAnsweredAfterTheSubscription(t *testing.T) {
	for name, h := range handovers {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				a := w.device("a", h.confirms)
				var anew *device
				h.hand(w, a, func() {
					w.claimed = nil
					anew = a.again()
				})
				time.Sleep(5 * lookAgain)
				a.has()
				anew.has()
				<-anew.enters()
				a.has()
				anew.has("one")
				anew.leaves()
				w.emptied()
			})
		})
	}
}

// The new subscribe fails, or there is none. The peer gets nothing that it has unsubscribed from, and what
// it would have had to confirm is taken back.
func TestClaimIsAnsweredAfterTheLastSubscription(t *testing.T) {
	for name, h := range handovers {
		for _, subscribes := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(w *world) {
					a := w.device("a", h.confirms)
					anew := a
					h.hand(w, a, func() {
						w.claimed = nil
						if subscribes {
							anew = a.again()
						} else {
							w.hub.Unsubscribe(a, "app", "c")
						}
					})
					asked := w.asked()
					if subscribes {
						w.hub.Unsubscribe(anew, "app", "c")
						time.Sleep(lookAgain)
					}
					a.has()
					anew.has()
					if asked += w.asked(); h.confirms != strings.Contains(asked, "take back one of a from n1") {
						t.Errorf("asked %q", asked)
					}
					time.Sleep(lookAgain)
					w.emptied()
				})
			})
		}
	}
}

// Redis keeps the order of what was claimed before the new subscription, and of what is claimed for it.
func TestKeptComesFirst(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", false)
		var anew *device
		w.claimed = func() {
			w.claimed = nil
			anew = a.again()
		}
		both := make(chan struct{}) // have come, before either is claimed
		w.d.events.Add(func() { <-both })
		w.deliver(delivery("c", "one", 0))
		w.deliver(delivery("c", "two", 0))
		close(both)
		w.did("claim one for a", "claim two for a")
		w.deliver(delivery("c", "three", 0))
		w.wait("four")
		w.did()
		<-anew.enters()
		anew.has("one", "two", "four", "three")
	})
}
