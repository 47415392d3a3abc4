package command

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
)

func all(string) bool { return true }

// ofPeer is what a peer was handed, read in pages: id and status of each.
func (w *world) ofPeer(peer string, limit int, shown func(string) bool) (got []string) {
	w.t.Helper()
	for after := ""; ; {
		page, err := w.store.OfPeer(context.Background(), "app", peer, after, limit, shown)
		if err != nil || len(page.Commands) > limit {
			w.t.Fatalf("%d commands, %v", len(page.Commands), err)
		}
		for _, c := range page.Commands {
			if c.Answer.Peer != peer || string(c.Command.Data) != `{"cmd":"reboot"}` {
				w.t.Errorf("it is about %q, with %s", c.Answer.Peer, c.Command.Data)
			}
			got = append(got, c.Command.ID+" "+string(c.Answer.Status))
		}
		if after = page.Next; after == "" {
			return got
		}
	}
}

func TestOfPeer(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("cam-1", "cam-2")
		if got := w.ofPeer("cam-1", 10, all); len(got) > 0 {
			t.Fatalf("before anything: %q", got)
		}
		first := w.create(func(n *New) { n.Node, n.Peers = "n1", []string{"cam-1", "cam-2"} }) // in the step that creates it
		w.pass(1)
		second := w.create(func(n *New) { n.TTL = time.Hour })
		w.claim(second, true, "cam-1")
		w.answers(second, Received, "cam-1")
		w.create(nil) // that cam-1 is not handed
		w.pass(1)
		third := w.create(nil)
		w.claim(third, false, "cam-1", "cam-2")
		w.answers(third, Succeeded, "cam-1")
		want := []string{third + " succeeded", second + " received", first + " sent"}
		for limit := range 4 {
			if got := w.ofPeer("cam-1", limit+1, all); !slices.Equal(got, want) {
				t.Errorf("by %d: %q\nwant %q", limit+1, got, want)
			}
		}
		if got := w.ofPeer("cam-2", 10, all); !slices.Equal(got, []string{third + " sent", first + " sent"}) {
			t.Errorf("the other peer: %q", got)
		}
		if got := w.ofPeer("cam-1", 10, func(string) bool { return false }); len(got) > 0 {
			t.Errorf("nothing is shown: %q", got)
		}
		w.pass(30_001)
		if got := w.ofPeer("cam-1", 10, all); !slices.Equal(got, []string{third + " succeeded", second + " timed_out", first + " timed_out"}) {
			t.Errorf("after the deadlines: %q", got)
		}
		// A command that is gone is left out.
		w.rdb.Del(context.Background(), w.keys.Bucket("app", channel).Command(strings.TrimPrefix(second, idPrefix+w.keys.Bucket("app", channel).Tag())))
		if got := w.ofPeer("cam-1", 1, all); !slices.Equal(got, []string{third + " succeeded", first + " timed_out"}) {
			t.Errorf("without the second: %q", got)
		}
	})
}

// The list of a peer's commands is bounded, and outlives each of them.
func TestListsOfPeersAreBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("cam-1")
		list, ctx := w.keys.Bucket("app", channel).CommandsOf("cam-1"), context.Background()
		day := Kept
		id := w.create(func(n *New) { n.TTL = time.Hour })
		w.claim(id, false, "cam-1")
		if life := w.rdb.PTTL(ctx, list).Val(); life < day+time.Hour || life > day+3*time.Hour {
			t.Errorf("the list lives for %v", life)
		}
		w.create(nil)
		w.claim(w.create(nil), false, "cam-1") // which takes less
		if life := w.rdb.PTTL(ctx, list).Val(); life < day+time.Hour {
			t.Errorf("the list lives for %v only", life)
		}
		slow := w.create(func(n *New) { n.Timeout = 24 * time.Hour })
		w.claim(slow, false, "cam-1")
		w.rdb.PExpire(ctx, list, time.Hour)
		w.answers(slow, Running, "cam-1")
		if life := w.rdb.PTTL(ctx, list).Val(); life < 2*day {
			t.Errorf("a command runs for a day, and the list lives for %v", life)
		}
		for i := range 200 {
			w.rdb.LPush(ctx, list, fmt.Sprint(begin-i, " x"))
		}
		w.claim(w.create(nil), false, "cam-1")
		if n := w.rdb.LLen(ctx, list).Val(); n != 100 {
			t.Errorf("%d are listed", n)
		}
	})
}

// Channels lie in many buckets, on a cluster on all masters.
func TestOfPeerOverBuckets(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		dir, err := apps.Parse([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, store: NewStore(Options{Redis: rdb, Apps: apps.NewStore(dir), Log: slog.New(slog.DiscardHandler)})}
		t.Cleanup(w.store.Finish)
		w.key, _ = dir.Key("sk_a")
		var want []string
		for i := range 5 {
			name := fmt.Sprintf("devices/d%d/commands", i)
			ctx := t.Context()
			if err := rdb.HSet(ctx, w.keys.Bucket("app", name).Members(name), "", "1:1", "cam-1", "n1\n").Err(); err != nil {
				t.Fatal(err)
			}
			created, err := w.store.Create(ctx, w.with(func(n *New) { n.Channel = name }))
			if err != nil {
				t.Fatal(err)
			}
			claim := &Claim{App: "app", Channel: name, ID: created.ID, Node: "n1", Peers: []Claimant{{Peer: "cam-1"}}}
			if err := w.store.Claim(ctx, []*Claim{claim}); err != nil || len(claim.HandedOver) != 1 {
				t.Fatal(claim.HandedOver, err)
			}
			want = append(want, created.ID+" sent")
		}
		if got := w.ofPeer("cam-1", 2, all); !sameSet(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
	})
}

func sameSet(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
