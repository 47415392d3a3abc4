package commands

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
)

func newCommand(id string) command.New {
	return command.New{ID: id, Key: &apps.Key{App: &apps.App{ID: "app"}}, Channel: "c", From: "server", Data: []byte(`"` + id + `"`), Timeout: time.Second}
}

// atCreation is what the receiver brings of a command that was handed over as it was created.
func atCreation(id string) envelope.Delivery {
	d := stage(delivery("c", id, 0), envelope.CommandHandedOver, "")
	d.Command.AtCreation = true
	return d
}

// handsOver has Redis hand over commands as they are created, and publish that before it answers,
// or after.
func (w *world) handsOver(before bool) {
	w.creates = func(n command.New) (command.Created, error) {
		if before {
			w.deliver(atCreation(n.ID))
		}
		return command.Created{ID: n.ID, Handed: true}, nil
	}
}

// The frame goes out when the message comes, whether Redis has answered by then or not, and once.
func TestHandedOverAtCreation(t *testing.T) {
	for name, before := range map[string]bool{"the message comes first": true, "the answer comes first": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				a, b := w.device("a", false), w.device("b", false)
				w.handsOver(before)
				if created, err := w.d.Create(t.Context(), newCommand("one")); err != nil || !created.Handed {
					t.Fatalf("%+v %v", created, err)
				}
				w.did("create one for a b")
				if !before {
					a.has()
					w.deliver(atCreation("one"))
				}
				w.deliver(atCreation("one")) // from a fault: nothing is written twice
				a.has("one")
				b.has("one")
				w.deliver(atCreation("others"))
				time.Sleep(5 * time.Second)
				w.did()
				a.has()
				b.has()
			})
		})
	}
}

// Peers that confirm, that have just subscribed, or are too many get it in the usual way; and so do
// all of a command at a pace or with snapshots.
func TestNotHandedOverAtCreation(t *testing.T) {
	paced := newCommand("one")
	paced.Rollout.PerMinute = 1
	notifies := newCommand("one")
	notifies.Notify = "elsewhere"
	for name, tt := range map[string]struct {
		command command.New
		devices func(w *world)
	}{
		"nobody":    {newCommand("one"), func(*world) {}},
		"confirms":  {newCommand("one"), func(w *world) { w.device("a", false); w.device("b", true) }},
		"entering":  {newCommand("one"), func(w *world) { w.device("a", false).entering.Store(true) }},
		"a pace":    {paced, func(w *world) { w.device("a", false) }},
		"snapshots": {notifies, func(w *world) { w.device("a", false) }},
		"too many": {newCommand("one"), func(w *world) {
			for i := range maxPeers + 1 {
				w.device(string(rune('a'+i)), false)
			}
		}},
		"no identity": {newCommand("one"), func(w *world) { w.device("a", false); w.d.SetIdentity("") }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				tt.devices(w)
				if _, err := w.d.Create(t.Context(), tt.command); err != nil {
					t.Fatal(err)
				}
				w.did("create one for ")
			})
		})
	}
}

// Nodes claim a command that Redis has not handed over.
func TestLeftToTheNodes(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", false)
		if _, err := w.d.Create(t.Context(), newCommand("one")); err != nil {
			t.Fatal(err)
		}
		w.deliver(delivery("c", "one", 0))
		w.did("create one for a", "claim one for a")
		a.has("one")
		w.deliver(atCreation("one")) // nothing is written twice
		a.has()
	})
}

// The node's link to Redis is lost: the message does not come, but Redis has said that the command
// is handed over.
func TestHandedOverWithoutAMessage(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", false)
		w.handsOver(false)
		if _, err := w.d.Create(t.Context(), newCommand("one")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(patience + lookAgain)
		a.has("one")
		w.deliver(atCreation("one"))
		a.has()
		w.did("create one for a")
	})
}

// Redis does not answer, but its message says that the command is handed over. If there is no
// message either, nothing is written, ever.
func TestHandedOverWithoutAnAnswer(t *testing.T) {
	inBubble(t, func(w *world) {
		a := w.device("a", false)
		w.creates = func(n command.New) (command.Created, error) { return command.Created{}, context.DeadlineExceeded }
		for _, id := range []string{"one", "two"} {
			if _, err := w.d.Create(t.Context(), newCommand(id)); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		w.deliver(atCreation("one"))
		a.has("one")
		time.Sleep(2*tripTime + lookAgain)
		synctest.Wait()
		w.d.mu.Lock()
		left := len(w.d.arriving)
		w.d.mu.Unlock()
		w.deliver(atCreation("two"))
		a.has()
		if left > 0 {
			t.Errorf("%d commands are remembered for ever", left)
		}
	})
}
