package command

import (
	"context"
	"errors"
	"testing"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

// mostLooked is create.lua's most_looked.
const mostLooked = 10

// createFor creates a command that a node can write to peers at once.
func (w *world) createFor(node string, peers []string, change func(*New)) Created {
	w.t.Helper()
	n := w.with(change)
	n.Node, n.Peers = node, peers
	created, err := w.store.Create(context.Background(), n)
	if err != nil {
		w.t.Fatal(err)
	}
	return created
}

// A command is handed over in the step that creates it if the peers of the node are all there are.
// It times out as any other, and no peer gets it twice.
func TestHandedOverAtCreation(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a", "b")
		sub := w.rdb.Subscribe(context.Background(), w.keys.Topic(0, "app", channel))
		defer sub.Close()
		if _, err := sub.Receive(context.Background()); err != nil {
			t.Fatal(err)
		}
		for name, ttl := range map[string]time.Duration{"without a TTL": 0, "with a TTL": 40 * time.Second} {
			created := w.createFor("n1", []string{"b", "a"}, func(n *New) { n.TTL = ttl })
			if !created.Handed {
				t.Fatalf("%s: it is not handed over", name)
			}
			m, err := sub.ReceiveMessage(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			var d envelope.Delivery
			if err := d.Decode([]byte(m.Payload)); err != nil || d.Command.ID != created.ID || !d.Command.AtCreation || string(d.Data()) != `{"cmd":"reboot"}` {
				t.Errorf("%s: published %+v, %v", name, d.Command, err)
			}
			w.wants(created.ID, Active, Counts{Sent: 2})
			if c := w.claim(created.ID, false, "a", "b"); len(c.HandedOver) > 0 {
				t.Errorf("%s: handed over again: %+v", name, c.HandedOver)
			}
			if c := w.claim("", false, "a"); len(c.HandedOver) > 0 {
				t.Errorf("%s: handed over again when a subscribes: %+v", name, c.HandedOver)
			}
			w.answer(created.ID, "a", Succeeded, "1")
			w.wants(created.ID, Active, Counts{Sent: 1, Succeeded: 1})
			w.pass(29_999)
			w.wants(created.ID, Active, Counts{Sent: 1, Succeeded: 1})
			w.pass(1)
			w.wants(created.ID, Mixed, Counts{Succeeded: 1, TimedOut: 1})
		}
	})
}

// Nodes claim a command as always when a peer is on another node, or on several, or is not theirs, and
// when another command goes first.
func TestNotHandedOverAtCreation(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		members := w.keys.Bucket("app", channel).Members(channel)
		not := func(why, node string, peers ...string) {
			t.Helper()
			if created := w.createFor(node, peers, nil); created.Handed {
				t.Errorf("%s, and it is handed over", why)
			} else if _, err := w.store.Cancel(ctx, "app", created.ID); err != nil {
				t.Error(err)
			}
		}
		w.join("a", "b")
		not("one more is there", "n1", "a")
		not("one is not there", "n1", "a", "b", "c")
		not("another is there", "n1", "a", "c")
		not("they are on another node", "n", "a", "b")
		w.rdb.HSet(ctx, members, "b", "n1,n2\n")
		not("one is on two nodes", "n1", "a", "b")
		w.rdb.HSet(ctx, members, "b", "n2,n1\n")
		not("one is on two nodes", "n1", "a", "b")
		w.rdb.HSet(ctx, members, "b", "n1\nmetadata")

		w.create(nil)
		not("none has been handed the one before", "n1", "a", "b")
		before := w.create(nil)
		w.claim(before, false, "a")
		not("one has not been handed the one before", "n1", "a", "b")
		before = w.create(nil)
		w.claim(before, false, "a", "gone")
		not("as many have been handed the one before, and one of them has gone", "n1", "a", "b")
		before = w.create(nil)
		w.claim(before, false, "a", "b")
		if !w.createFor("n1", []string{"a", "b"}, nil).Handed {
			t.Error("all have been handed the one before, and it is not handed over")
		}
		w.create(nil)
		w.pass(Grace.Milliseconds())
		if !w.createFor("n1", []string{"a", "b"}, nil).Handed {
			t.Error("the one before has expired, and it is not handed over")
		}
		before = w.create(func(n *New) { n.TTL = time.Hour })
		w.pass(2 * Grace.Milliseconds())
		not("one waits", "n1", "a", "b")
		if _, err := w.store.Cancel(ctx, "app", before); err != nil {
			t.Fatal(err)
		}
		if !w.createFor("n1", []string{"a", "b"}, nil).Handed {
			t.Error("none waits any more, and it is not handed over")
		}
	})
}

// Commands that have ended do not hide an older one that nodes have yet to claim.
func TestNotHandedOverBeforeAnOlderOne(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a", "b")
		hands := func(want bool, why string) string {
			t.Helper()
			created := w.createFor("n1", []string{"a", "b"}, nil)
			if created.Handed != want {
				t.Errorf("%s, and handed over is %v", why, created.Handed)
			}
			return created.ID
		}
		cancelled := func(n int) {
			t.Helper()
			for range n {
				if _, err := w.store.Cancel(context.Background(), "app", w.create(nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
		older := w.create(nil)
		cancelled(2)
		newer := hands(false, "none has been handed the oldest")
		w.claim(older, false, "a", "b")
		w.claim(newer, false, "a")
		hands(false, "one has not been handed the newest")
		w.pass(Grace.Milliseconds())

		id := hands(true, "all before have expired or been handed over")
		w.answer(id, "a", Succeeded, "1")
		w.answer(id, "b", Succeeded, "1")
		w.wants(id, Succeeded, Counts{Succeeded: 2})
		cancelled(mostLooked - 1)
		hands(true, "all have been handed the last that was not cancelled")
		cancelled(mostLooked)
		id = hands(false, "Redis does not look further back")
		w.claim(id, false, "a", "b")
		hands(true, "all have been handed the newest")
	})
}

// A user of Redis that may not publish is refused, and nothing is counted.
func TestNotAllowedToPublish(t *testing.T) {
	server := redistest.Start(t)
	w := newWorld(t, server.Client())
	w.join("a")
	ctx := context.Background()
	counter := quota.Counter{Key: "fw:{app}:messages:x", Limit: 10, ExpiresAt: time.Now().Add(time.Hour)}
	if err := w.rdb.Do(ctx, "ACL", "SETUSER", "default", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	for _, peers := range [][]string{nil, {"a"}} {
		n := w.with(func(n *New) { n.Node, n.Peers, n.Admission = "n1", peers, &Admission{Counter: counter} })
		if _, err := w.store.Create(ctx, n); err == nil || !NotCreated(err) {
			t.Errorf("error %v", err)
		}
	}
	if n := w.rdb.Get(ctx, counter.Key).Val(); n != "0" {
		t.Errorf("%s messages are counted", n)
	}
}

// On a cluster a command is counted in another step: what is not created is given back.
func TestAdmittedInSteps(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Client())
	w.store.inSteps = true
	ctx := context.Background()
	n := w.with(func(n *New) {
		n.IdempotencyKey = "k"
		n.Admission = &Admission{Counter: quota.Counter{Key: "{app}messages", Limit: 2, ExpiresAt: time.Now().Add(time.Hour)}, Bucket: &quota.Bucket{Key: "{app}rest", PerSec: 1, Burst: 6}}
	})
	try := func(want error, used string) Created {
		t.Helper()
		// A bucket that was written later than now gets no token, however long the test takes.
		w.rdb.HSet(ctx, "{app}rest", "at", time.Now().Add(time.Hour).UnixMilli())
		created, err := w.store.Create(ctx, n)
		if !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
		if got := w.rdb.Get(ctx, "{app}messages").Val(); got != used {
			t.Errorf("%s messages are counted, want %s", got, used)
		}
		return created
	}
	try(ErrNobody, "0")
	w.join("a")
	first := try(nil, "1")
	if again := try(nil, "1"); !again.Repeated || again.ID != first.ID {
		t.Errorf("%+v, want %s again", again, first.ID)
	}
	w.rdb.Set(ctx, "{app}messages", 2, 0)
	if again := try(nil, "2"); !again.Repeated || again.ID != first.ID {
		t.Errorf("over the cap: %+v, want %s again", again, first.ID)
	}
	n.IdempotencyKey = ""
	try(quota.ErrOverCap, "3")
	n.IdempotencyKey = "k"
	try(nil, "3")
	if created := try(quota.ErrOverRate, "3"); created.Next <= 0 {
		t.Errorf("the next token comes in %v", created.Next)
	}
}
