package commands

import (
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/pkg/command"
)

// A command is due to another node, on which the peer has subscribed later. If that does not
// take it in time, this one does, well before a command without a TTL is over.
func TestLeftToAnotherNode(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"without a TTL": 0, "with a TTL": time.Minute} {
		for _, confirms := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(w *world) {
					time.Sleep(lookAgain - patience/2) // the next tick comes too early
					w.others = true
					mode := ""
					if confirms {
						mode = "!"
					}
					a := w.device("a", confirms)
					w.deliver(delivery("c", "one", ttl))
					w.did("claim one for a" + mode)
					w.wait("one")
					time.Sleep(patience - 1)
					w.did()
					a.has()
					time.Sleep(command.Grace - patience)
					if ttl == 0 {
						w.did("claim one for a" + mode + " anyhow")
					} else {
						w.did("claim  for a" + mode + " anyhow")
					}
					a.has("one")
				})
			})
		}
	}
}

// The peer has unsubscribed meanwhile, or its connection is gone: this node takes nothing.
func TestLeftToAnotherNodeAndGone(t *testing.T) {
	for name, goes := range map[string]func(a *device){
		"unsubscribed": func(a *device) { a.w.hub.Unsubscribe(a, "app", "c") },
		"gone":         func(a *device) { a.leaves() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.others = true
				a := w.device("a", false)
				both := make(chan struct{}) // have come, before either is claimed
				w.d.events.Add(func() { <-both })
				synctest.Wait()
				w.deliver(delivery("c", "one", 0))
				w.deliver(delivery("c", "two", time.Minute))
				close(both)
				w.did("claim one for a", "claim two for a")
				goes(a)
				time.Sleep(5 * time.Second)
				w.did()
				a.has()
				if len(w.d.lines) != 0 {
					t.Errorf("%d lines are left", len(w.d.lines))
				}
			})
		})
	}
}
