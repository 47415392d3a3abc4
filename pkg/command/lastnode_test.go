package command

import (
	"context"
	"testing"
	"time"
)

// lastOn says on which node a peer has subscribed last.
func (w *world) lastOn(peer, node string) {
	w.t.Helper()
	if err := w.rdb.HSet(context.Background(), w.keys.Bucket("app", channel).LastJoined(channel), peer, node).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// claimOn claims for one peer on a node.
func (w *world) claimOn(node, id string, anyhow bool, peers ...string) *Claim {
	w.t.Helper()
	c := &Claim{App: "app", Channel: channel, ID: id, Node: node, Anyhow: anyhow}
	for _, p := range peers {
		c.Peers = append(c.Peers, Claimant{Peer: p})
	}
	if err := w.store.Claim(context.Background(), []*Claim{c}); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// Of a peer on several nodes the one claims on which it subscribed last; another leaves it to
// that, or takes it after all. A node leaves nothing to another one if no peer is due anything.
func TestLastNodeClaims(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a", "b")
		w.lastOn("a", "n2")
		for _, queued := range []bool{false, true} {
			for _, anyhow := range []bool{false, true} {
				id := w.create(func(n *New) {
					if queued {
						n.TTL = time.Minute
					}
				})
				claimed := id
				if queued {
					claimed = ""
				}
				if c := w.claimOn("n1", claimed, false, "a"); len(c.HandedOver) != 0 || len(c.Elsewhere) != 1 || c.Elsewhere[0] != 0 {
					t.Fatalf("n1 claims %+v, elsewhere %v", c.HandedOver, c.Elsewhere)
				}
				taker := "n2"
				if anyhow {
					taker = "n1"
				}
				if c := w.claimOn(taker, claimed, anyhow, "a"); len(c.HandedOver) != 1 || len(c.Elsewhere) != 0 {
					t.Errorf("%s claims %+v, elsewhere %v", taker, c.HandedOver, c.Elsewhere)
				}
				for _, node := range []string{"n1", "n2"} {
					if c := w.claimOn(node, claimed, false, "a"); len(c.HandedOver) != 0 || len(c.Elsewhere) != 0 {
						t.Errorf("%s claims again %+v, elsewhere %v", node, c.HandedOver, c.Elsewhere)
					}
				}
			}
		}
		id := w.create(nil)
		if c := w.claimOn("n1", id, false, "a", "b"); len(c.HandedOver) != 1 || c.HandedOver[0].Peer != 1 || len(c.Elsewhere) != 1 || c.Elsewhere[0] != 0 {
			t.Errorf("of two peers n1 claims %+v, elsewhere %v", c.HandedOver, c.Elsewhere)
		}
	})
}

// A command at a pace waits for the node on which its peer has subscribed last. Other nodes
// ask again when it goes on.
func TestLastNodeOfARollout(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a")
		w.lastOn("a", "n2")
		id := w.create(func(n *New) {
			n.TTL, n.Rollout = time.Minute, Rollout{PerMinute: 60}
		})
		for _, claimed := range []string{id, ""} {
			for _, anyhow := range []bool{false, true} {
				if c := w.claimOn("n1", claimed, anyhow, "a"); len(c.HandedOver) != 0 || len(c.Elsewhere) != 0 {
					t.Errorf("%q: n1 claims %+v, elsewhere %v", claimed, c.HandedOver, c.Elsewhere)
				}
			}
		}
		if c := w.claimOn("n2", "", false, "a"); len(c.HandedOver) != 1 {
			t.Errorf("n2 claims %+v", c.HandedOver)
		}
	})
}
