package command

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
)

func names(n int) []string {
	peers := make([]string, n)
	for i := range peers {
		peers[i] = fmt.Sprintf("cam-%04d", i)
	}
	return peers
}

// answers has all peers say the same, in one round trip.
func (w *world) answers(id string, status Status, peers ...string) {
	w.t.Helper()
	all := make([]*Answer, len(peers))
	for i, p := range peers {
		all[i] = &Answer{App: "app", Peer: p, ID: id, Status: status}
	}
	if err := w.store.Answer(context.Background(), all); err != nil {
		w.t.Fatal(err)
	}
	for _, a := range all {
		if a.Outcome != Taken {
			w.t.Fatalf("outcome %d of %s", a.Outcome, a.Peer)
		}
	}
}

func TestFleet(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		peers := names(1201)
		w.join(peers...)
		id := w.create(nil)
		if c := w.claim(id, false, peers...); len(c.HandedOver) != 1201 || c.HandedOver[1200].Peer != 1200 {
			t.Fatalf("%d were handed it", len(c.HandedOver))
		}
		w.wants(id, Active, Counts{Sent: 1201})
		w.answers(id, Received, peers[:3]...)
		w.answers(id, Running, peers[3:5]...)
		w.answers(id, Succeeded, peers[5:1000]...)
		w.answers(id, Failed, peers[1000:1100]...)
		w.wants(id, Active, Counts{Sent: 101, Received: 3, Running: 2, Succeeded: 995, Failed: 100})
		if c := w.read(id); c.Expect != 1201 || len(c.Answers) != MaxShown || !c.More || c.Answers[19].Peer != "cam-0019" {
			t.Errorf("expect %d, %d answers, more %v", c.Expect, len(c.Answers), c.More)
		}
		w.pass(30000)
		w.wants(id, Mixed, Counts{Succeeded: 995, Failed: 100, TimedOut: 106})
	})
}

// Pages of answers have each peer once, by status too.
func TestPagesOfAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		peers := names(250)
		w.join(peers...)
		id := w.create(nil)
		w.claim(id, false, peers...)
		w.answers(id, Rejected, peers[200:230]...)
		for _, tt := range []struct {
			status Status
			limit  int
			want   []string
		}{{"", 1, peers}, {"", 60, peers}, {"", 250, peers}, {"", 500, peers}, {Rejected, 7, peers[200:230]}, {Rejected, 30, peers[200:230]}, {Sent, 100, append(slices.Clone(peers[:200]), peers[230:]...)}, {Running, 10, nil}} {
			var got []string
			for after, pages := "", 0; ; pages++ {
				page, err := w.store.Answers(context.Background(), "app", id, tt.status, after, tt.limit)
				if err != nil || pages > 300 {
					t.Fatal(pages, err)
				}
				if len(page.Answers) > tt.limit {
					t.Errorf("a page of %d has %d", tt.limit, len(page.Answers))
				}
				for _, a := range page.Answers {
					got = append(got, a.Peer)
				}
				if after = page.Next; after == "" {
					break
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("status %q by %d: %d peers, want %d", tt.status, tt.limit, len(got), len(tt.want))
			}
		}
	})
}

// A page, and the answers that come with a command, are bounded in bytes.
func TestLargeAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		peers := names(60)
		w.join(peers...)
		id := w.create(nil)
		w.claim(id, false, peers...)
		large := `"` + strings.Repeat("x", protocol.MaxAnswerBytes-2) + `"`
		for _, p := range peers {
			w.answer(id, p, Succeeded, large)
		}
		if c := w.read(id); len(c.Answers) != 15 || !c.More {
			t.Errorf("%d answers come with the command, more: %v; want 15", len(c.Answers), c.More)
		}
		page, err := w.store.Answers(context.Background(), "app", id, "", "", 500)
		if err != nil || len(page.Answers) != 31 || page.Next != peers[30] {
			t.Errorf("%d answers, next %q, %v", len(page.Answers), page.Next, err)
		}
	})
}

func TestPagesOfCommands(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a")
		var all, ended []string
		for i := range 50 {
			id := w.create(nil) // many of one millisecond
			all = append(all, id)
			if i%5 == 0 {
				w.claim(id, false, "a")
				w.answer(id, "a", Succeeded, "")
				ended = append(ended, id)
			}
		}
		slices.Reverse(all)
		slices.Reverse(ended)
		for _, tt := range []struct {
			status Status
			limit  int
			want   []string
		}{{"", 1, all}, {"", 7, all}, {"", 50, all}, {"", 500, all}, {Succeeded, 3, ended}, {Succeeded, 10, ended}, {Failed, 10, nil}} {
			var got []string
			for after := ""; ; {
				page, err := w.store.List(context.Background(), "app", channel, tt.status, after, tt.limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range page.Commands {
					got = append(got, c.ID)
				}
				if after = page.Next; after == "" {
					break
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("status %q by %d: %d commands %v", tt.status, tt.limit, len(got), got)
			}
		}
		w.pass(2000)
		if page, err := w.store.List(context.Background(), "app", channel, Expired, "", 500); err != nil || len(page.Commands) != 40 {
			t.Errorf("a list after the deadline does not show the end: %d %v", len(page.Commands), err)
		}
		if page, err := w.store.List(context.Background(), "other", channel, "", "", 500); err != nil || len(page.Commands) != 0 {
			t.Errorf("another app sees %d commands, %v", len(page.Commands), err)
		}
	})
}

// How a command ends by what it expects, and by its TTL.
func TestExpect(t *testing.T) {
	long := func(n *New) { n.TTL = time.Hour; n.Expect = 3 }
	tests := []struct {
		name   string
		change func(*New)
		does   func(w *world, id string)
		status Status
		counts Counts
	}{
		{"the first counts", func(n *New) { n.Expect = 1 }, func(w *world, id string) {
			w.claim(id, false, "a", "b", "c")
			w.answers(id, Failed, "b")
		}, Failed, Counts{Sent: 2, Failed: 1}},
		{"who answers after the end is counted", func(n *New) { n.Expect = 1 }, func(w *world, id string) {
			w.claim(id, false, "a", "b", "c")
			w.answers(id, Failed, "b")
			w.answers(id, Succeeded, "a")
			w.pass(30000)
		}, Failed, Counts{TimedOut: 1, Failed: 1, Succeeded: 1}},
		{"all alike", nil, func(w *world, id string) {
			w.claim(id, false, "a", "b", "c")
			w.answers(id, Succeeded, "a", "b", "c")
		}, Succeeded, Counts{Succeeded: 3}},
		{"not all alike", nil, func(w *world, id string) {
			w.claim(id, false, "a", "b", "c")
			w.answers(id, Succeeded, "a", "b")
			w.answers(id, Failed, "c")
		}, Mixed, Counts{Succeeded: 2, Failed: 1}},
		{"one did not claim", nil, func(w *world, id string) {
			w.claim(id, false, "a", "b")
			w.answers(id, Succeeded, "a", "b")
			w.wants(id, Active, Counts{Succeeded: 2})
			w.pass(2000)
		}, Mixed, Counts{Succeeded: 2, Missing: 1}},
		{"the TTL waits for the answers", nil, func(w *world, id string) {
			w.claim(id, false, "a", "b")
			w.answers(id, Succeeded, "a")
			w.pass(2000)
			w.wants(id, Active, Counts{Succeeded: 1, Sent: 1})
			if c := w.claim(id, false, "c"); len(c.HandedOver) > 0 {
				w.t.Error("handed over after the TTL")
			}
			w.answers(id, Succeeded, "b")
		}, Mixed, Counts{Succeeded: 2, Missing: 1}},
		{"who comes later gets it", long, func(w *world, id string) {
			w.claim(id, false, "a", "b")
			w.answers(id, Succeeded, "a", "b")
			w.pass(3600*1000 - 1)
			if c := w.claim("", false, "c"); len(c.HandedOver) != 1 || c.HandedOver[0].ExpiresIn != time.Millisecond {
				w.t.Errorf("handed over %+v", c.HandedOver)
			}
			w.answers(id, Succeeded, "c")
		}, Succeeded, Counts{Succeeded: 3}},
		{"nobody came", long, func(w *world, id string) { w.pass(3600 * 1000) }, Expired, Counts{Missing: 3}},
	}
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a", "b", "c")
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w.t = t
				id := w.create(tt.change)
				tt.does(w, id)
				w.wants(id, tt.status, tt.counts)
			})
		}
	})
}

func TestQueue(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		var ids []string
		for range MaxQueued {
			ids = append(ids, w.create(func(n *New) { n.TTL = time.Minute }))
		}
		ctx := context.Background()
		queued := w.with(func(n *New) { n.TTL = time.Minute; n.IdempotencyKey = "k" })
		if _, err := w.store.Create(ctx, queued); !errors.Is(err, ErrFull) {
			t.Errorf("the 101st: %v", err)
		}
		if _, err := w.store.Cancel(ctx, "app", ids[50]); err != nil {
			t.Fatal(err)
		}
		created, err := w.store.Create(ctx, queued)
		if err != nil || created.Repeated {
			t.Errorf("with room again: %v", err)
		}
		ids = append(slices.Delete(ids, 50, 51), created.ID)

		// In the order of creation, in portions.
		var got []string
		for more := true; more; {
			c := &Claim{App: "app", Channel: channel, Node: "n1", MaxBytes: 1000, Peers: []Claimant{{Peer: "a"}}}
			if err := w.store.Claim(ctx, []*Claim{c}); err != nil {
				t.Fatal(err)
			}
			if n := len(c.HandedOver); n == 0 || n > 10 {
				t.Fatalf("a portion of %d", n)
			}
			for _, h := range c.HandedOver {
				got = append(got, h.ID)
				if string(h.Delivery.Data()) != `{"cmd":"reboot"}` {
					t.Errorf("data %s", h.Delivery.Data())
				}
			}
			more = c.More
		}
		if !slices.Equal(got, ids) {
			t.Errorf("handed over %v\nwant %v", got, ids)
		}
		if c := w.claim("", false, "a"); len(c.HandedOver) > 0 {
			t.Error("handed over twice")
		}
		// The TTL ends; nothing holds a place any more, seen to or not.
		w.pass(60000)
		w.create(func(n *New) { n.TTL = time.Minute })
	})
}

func TestCollapse(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		collapsing := func(n *New) { n.TTL = time.Minute; n.CollapseKey = "position"; n.Expect = 2 }
		first := w.create(collapsing)
		w.claim("", false, "a")
		second := w.create(collapsing)
		other := w.create(func(n *New) { n.TTL = time.Minute; n.CollapseKey = "another" })
		third := w.create(collapsing)
		w.wants(first, Active, Counts{Sent: 1})
		w.wants(second, Superseded, Counts{Missing: 2})
		w.wants(other, Waiting, Counts{})
		if c := w.claim("", false, "b"); len(c.HandedOver) != 2 || c.HandedOver[0].ID != other || c.HandedOver[1].ID != third {
			t.Errorf("handed over %+v", c.HandedOver)
		}
		// Who has the first ends it, though it expects two.
		w.answers(first, Succeeded, "a")
		w.wants(first, Mixed, Counts{Succeeded: 1, Missing: 1})
		// A full queue has room for a command that supersedes one.
		for range MaxQueued - 2 {
			w.create(func(n *New) { n.TTL = time.Minute })
		}
		w.create(collapsing)
	})
}

func TestCancel(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		w.join("a", "b")
		id := w.create(func(n *New) { n.TTL = time.Minute })
		w.claim(id, false, "a")
		c, err := w.store.Cancel(ctx, "app", id)
		if err != nil || c.Status != Cancelled || c.Counts != (Counts{Sent: 1, Missing: 1}) {
			t.Errorf("%+v %v", c, err)
		}
		if got := w.claim(id, false, "b"); len(got.HandedOver) > 0 {
			t.Error("handed over after that")
		}
		if _, err := w.store.Cancel(ctx, "app", id); !errors.Is(err, ErrFinal) {
			t.Errorf("once more: %v", err)
		}
		w.answers(id, Succeeded, "a")
		w.wants(id, Cancelled, Counts{Succeeded: 1, Missing: 1})
	})
}

func TestIdempotency(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		w.join("a")
		once := func(n *New) { n.IdempotencyKey = "k"; n.CollapseKey = "c" }
		id := w.create(once)
		for name, change := range map[string]func(*New){
			"data": func(n *New) { n.Data = []byte("1") }, "from": func(n *New) { n.From = "x" }, "ttlMs": func(n *New) { n.TTL = time.Second },
			"timeoutMs": func(n *New) { n.Timeout = time.Second }, "expect": func(n *New) { n.Expect = 1 },
			"collapseKey": func(n *New) { n.CollapseKey = "" }, "notify": func(n *New) { n.Notify = "x" },
		} {
			if _, err := w.store.Create(ctx, w.with(func(n *New) { once(n); change(n) })); !errors.Is(err, ErrConflict) {
				t.Errorf("another %s: %v", name, err)
			}
		}
		// Also when nobody is there any more.
		if err := w.rdb.Del(ctx, w.keys.Bucket("app", channel).Members(channel)).Err(); err != nil {
			t.Fatal(err)
		}
		if again, err := w.store.Create(ctx, w.with(once)); again.ID != id || !again.Repeated || err != nil {
			t.Errorf("%+v %v, want %s", again, err, id)
		}
		w.pass(2000)
		w.wants(id, Expired, Counts{Missing: 1})
		if again, err := w.store.Create(ctx, w.with(once)); again.ID != id || !again.Repeated || err != nil {
			t.Errorf("after the end: %+v %v, want %s", again, err, id)
		}
	})
}

// Subscribers that confirm: what is not received is taken back, and handed over again.
func TestConfirm(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		id := w.create(func(n *New) { n.TTL = time.Hour })
		takeBack := func() {
			if _, err := w.store.TakeBack(ctx, "n1", []Unconfirmed{{App: "app", ID: id, Peer: "a"}}); err != nil {
				t.Fatal(err)
			}
		}
		for attempt := 1; attempt <= MaxAttempts; attempt++ {
			c := w.claim("", true, "a")
			if len(c.HandedOver) != 1 || c.HandedOver[0].Attempt != attempt {
				t.Fatalf("attempt %d: %+v", attempt, c.HandedOver)
			}
			w.pass(29000)
			if c := w.claim("", true, "a"); len(c.HandedOver) > 0 {
				t.Fatal("handed over while it is out")
			}
			takeBack()
			if attempt < MaxAttempts {
				w.pass(100000) // the clock of a hand-over that was taken back stands
				w.wants(id, Active, Counts{Sent: 1})
				if c := w.claim("", false, "a"); len(c.HandedOver) > 0 {
					t.Fatal("handed over twice to a subscriber that does not confirm")
				}
			}
		}
		w.wants(id, TimedOut, Counts{TimedOut: 1})
	})
}

func TestConfirmed(t *testing.T) {
	tests := []struct {
		name   string
		does   func(w *world, id string)
		status Status
		counts Counts
	}{
		{"received stays", func(w *world, id string) {
			w.answers(id, Received, "a")
			w.takeBack(id)
			w.pass(29999)
			w.wants(id, Active, Counts{Received: 1})
			w.pass(1)
		}, TimedOut, Counts{TimedOut: 1}},
		{"ended stays", func(w *world, id string) { w.answers(id, Succeeded, "a"); w.takeBack(id) }, Succeeded, Counts{Succeeded: 1}},
		{"the TTL ends it", func(w *world, id string) {
			w.takeBack(id)
			w.pass(3600*1000 - 1)
			w.wants(id, Active, Counts{Sent: 1})
			w.pass(1)
		}, TimedOut, Counts{TimedOut: 1}},
		{"taken back after the TTL", func(w *world, id string) { w.pass(3600 * 1000); w.takeBack(id) }, TimedOut, Counts{TimedOut: 1}},
		{"cancelling ends it", func(w *world, id string) {
			w.takeBack(id)
			if _, err := w.store.Cancel(context.Background(), "app", id); err != nil {
				w.t.Fatal(err)
			}
		}, Cancelled, Counts{TimedOut: 1}},
		{"it had received it all the same", func(w *world, id string) {
			w.takeBack(id)
			w.pass(1000)
			w.answers(id, Received, "a")
			if c := w.claim("", true, "a"); len(c.HandedOver) > 0 {
				w.t.Error("handed over again")
			}
			w.pass(29999)
			w.wants(id, Active, Counts{Received: 1})
			w.pass(1)
		}, TimedOut, Counts{TimedOut: 1}},
		{"another node's is not taken back", func(w *world, id string) {
			if _, err := w.store.TakeBack(context.Background(), "n2", []Unconfirmed{{"app", id, "a"}}); err != nil {
				w.t.Fatal(err)
			}
			if c := w.claim("", true, "a"); len(c.HandedOver) > 0 {
				w.t.Error("handed over again")
			}
		}, Active, Counts{Sent: 1}},
	}
	onBoth(t, func(t *testing.T, w *world) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w.t = t
				id := w.create(func(n *New) { n.TTL = time.Hour })
				w.claim(id, true, "a")
				tt.does(w, id)
				w.wants(id, tt.status, tt.counts)
				_, _ = w.store.Cancel(context.Background(), "app", id)
			})
		}
	})
}

func (w *world) takeBack(id string) {
	w.t.Helper()
	if _, err := w.store.TakeBack(context.Background(), "n1", []Unconfirmed{{"app", id, "a"}}); err != nil {
		w.t.Fatal(err)
	}
}

// A node that dies is reaped, bucket by bucket.
func TestReap(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		peers := names(700)
		id := w.create(func(n *New) { n.TTL = time.Hour; n.Expect = 1000 })
		w.claim(id, true, peers...)
		w.claim(id, false, "plain")
		w.answers(id, Received, peers[:10]...)
		runs := 0
		for more := true; more; runs++ {
			var err error
			if more, err = w.store.Reap(context.Background(), w.keys.Bucket("app", channel), "n1"); err != nil {
				t.Fatal(err)
			}
		}
		c := w.claim("", true, append(peers, "plain")...)
		if len(c.HandedOver) != 690 || c.HandedOver[0].Attempt != 2 || runs != 5 {
			t.Errorf("%d are handed over again, after %d runs", len(c.HandedOver), runs)
		}
	})
}

// The hand-over ends while more peers are to have the command again than one run sees to. All
// of them time out.
func TestTheHandOverEndsForMany(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		peers := names(400)
		for status, end := range map[Status]func(id string){
			Cancelled: func(id string) {
				if _, err := w.store.Cancel(context.Background(), "app", id); err != nil {
					t.Fatal(err)
				}
			},
			Mixed: func(string) { w.create(func(n *New) { n.TTL, n.CollapseKey = time.Minute, "k" }) },
		} {
			id := w.create(func(n *New) { n.TTL, n.CollapseKey, n.Expect = time.Hour, "k", 1000 })
			for some := range slices.Chunk(peers, 100) {
				w.claim(id, true, some...)
			}
			for more := true; more; {
				var err error
				if more, err = w.store.Reap(context.Background(), w.keys.Bucket("app", channel), "n1"); err != nil {
					t.Fatal(err)
				}
			}
			end(id)
			w.wants(id, status, Counts{TimedOut: 400, Missing: 600})
		}
	})
}

// Without a TTL there is one attempt.
func TestConfirmWithoutTTL(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a")
		id := w.create(nil)
		w.claim(id, true, "a")
		w.takeBack(id)
		w.wants(id, TimedOut, Counts{TimedOut: 1})
	})
}

// What nodes hear of a command, and when.
func TestDeliveries(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		topic := w.keys.Topic(0, "app", channel)
		sub := w.rdb.Subscribe(ctx, topic)
		defer sub.Close()
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		w.join("a", "b")
		id := w.create(nil)
		w.claim(id, false, "a", "b")
		if _, err := w.store.Cancel(ctx, "app", id); err != nil {
			t.Fatal(err)
		}
		w.create(func(n *New) { n.TTL = time.Minute })
		var got []string
		for range 4 {
			m, err := sub.ReceiveMessage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, describe(t, m.Payload))
		}
		last := got[3]
		got[3] = last[:1]
		message := ` {"type":"message","channel":"` + channel + `","from":"server","data":{"cmd":"reboot"}}`
		want := []string{"1 " + id + " 30s 0s" + message, "2 " + id + " 30s 0s" + message, "3 " + id + ` 0s 0s {"type":"command_cancelled","command":"` + id + `"}`, "1"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
	})
}
