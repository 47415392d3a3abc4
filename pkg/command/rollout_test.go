package command

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/publish"
)

// due sees to what is due in the bucket now.
func (w *world) due() {
	w.t.Helper()
	ctx := context.Background()
	b := w.keys.Bucket("app", channel)
	ids, err := w.rdb.Do(ctx, "ZRANGEBYSCORE", b.Due(string(deadline.Commands)), "-inf", w.now).StringSlice()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Due(ctx, []deadline.Due{{App: "app", Bucket: b, IDs: ids}}); err != nil {
		w.t.Fatal(err)
	}
}

// A rollout hands over at its pace, whatever nodes claim, and nodes are told when to.
func TestRollout(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		sub := w.rdb.Subscribe(ctx, w.keys.Topic(0, "app", channel))
		defer sub.Close()
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		peers := names(10)
		w.join(peers...)
		id := w.create(func(n *New) { n.TTL = time.Minute; n.Rollout.PerMinute = 60 })
		handed := func() int { return w.read(id).Counts.Sent }
		w.claim(id, false, peers...)
		w.claim("", false, peers...)
		if n := handed(); n != 1 {
			t.Fatalf("%d are handed it at once", n)
		}
		for second := 1; second <= 4; second++ {
			w.pass(1000)
			w.due()
			w.claim(id, false, peers...)
			if n := handed(); n != 1+second {
				t.Errorf("%d are handed it after %d s", n, second)
			}
		}
		w.pass(3000) // nobody claimed meanwhile
		w.claim("", false, peers...)
		if n := handed(); n != 8 {
			t.Errorf("%d are handed it after 7 s", n)
		}
		// First the delivery, then what wildcard subscribers see, then once a second again.
		var got []string
		var last string
		for range 6 {
			m, err := sub.ReceiveMessage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if m.Payload[:17] == last {
				t.Error("two envelopes have one number")
			}
			last = m.Payload[:17]
			got = append(got, describe(t, m.Payload)[:1])
		}
		if want := []string{"1", "2", "1", "1", "1", "1"}; !slices.Equal(got, want) {
			t.Errorf("nodes heard %v, want %v", got, want)
		}
		w.pass(60000)
		w.due()
		if n := w.rdb.ZCard(ctx, w.keys.Bucket("app", channel).Due(string(deadline.Commands))).Val(); n != 0 {
			t.Errorf("%d deadlines are left", n)
		}
	})
}

func TestAbort(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		peers := names(10)
		w.join(peers...)
		rollout := func(n *New) {
			n.TTL, n.Rollout = time.Minute, Rollout{PerMinute: 60000, FailedPct: 50, MinAnswered: 4}
		}
		id := w.create(rollout)
		w.pass(10)
		w.claim(id, false, peers[:8]...)
		w.answers(id, Failed, peers[:2]...)
		w.answers(id, Succeeded, peers[2])
		w.wants(id, Active, Counts{Sent: 5, Succeeded: 1, Failed: 2})
		w.answers(id, Rejected, peers[3])
		w.wants(id, Aborted, Counts{Sent: 4, Succeeded: 1, Failed: 2, Rejected: 1, Missing: 2})
		if c := w.claim(id, false, peers[8:]...); len(c.HandedOver) > 0 {
			t.Error("handed over after that")
		}
		// Timeouts count as well.
		id = w.create(rollout)
		w.pass(10)
		w.claim(id, false, peers[:4]...)
		w.pass(30000)
		w.wants(id, Aborted, Counts{TimedOut: 4, Missing: 6})
		// It stops at the first moment, though nobody has looked until all had timed out.
		id = w.create(func(n *New) { rollout(n); n.Expect = 5 })
		w.pass(10)
		w.claim(id, false, peers[:4]...)
		w.pass(1000)
		w.claim(id, false, peers[4:5]...)
		w.pass(40000)
		w.wants(id, Aborted, Counts{TimedOut: 5})
		// One that ends by itself has nothing to stop.
		id = w.create(func(n *New) { rollout(n); n.Expect = 4 })
		w.pass(10)
		w.claim(id, false, peers[:4]...)
		w.answers(id, Failed, peers[:4]...)
		w.wants(id, Failed, Counts{Failed: 4})
	})
}

// told notes what is published.
type publishes struct {
	messages []string
	err      *protocol.Error
}

func (p *publishes) Publish(_ context.Context, m publish.Message) publish.Result {
	p.messages = append(p.messages, fmt.Sprintf("%s %s %s", m.Channel, m.From, m.Data))
	return publish.Result{Err: p.err}
}

func TestNotify(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		p := &publishes{}
		w.store.opt.Publisher = p
		peers := names(5)
		w.join(peers...)
		id := w.create(func(n *New) { n.Notify = "ops/progress" })
		says := func(when, want string) {
			t.Helper()
			w.due()
			w.due() // nothing is said twice
			got := ""
			for _, m := range p.messages {
				got += m + "\n"
			}
			if want != "" {
				want = fmt.Sprintf("ops/progress _system {\"id\":\"%s\",%s}\n", id, want)
			}
			if got != want {
				t.Errorf("%s: %s\nwant %s", when, got, want)
			}
			p.messages = nil
		}
		counts := func(sent, received, succeeded, failed, missing int) string {
			return fmt.Sprintf(`"counts":{"sent":%d,"received":%d,"running":0,"succeeded":%d,"failed":%d,"rejected":0,"timedOut":0,"missing":%d}`, sent, received, succeeded, failed, missing)
		}
		says("when nothing has happened", "")
		w.claim(id, false, peers[:4]...)
		w.answers(id, Received, peers[0])
		says("at once", `"status":"active",`+counts(3, 1, 0, 0, 0))
		w.pass(100)
		w.answers(id, Succeeded, peers[:3]...)
		says("within the second", "")
		w.pass(500)
		w.answers(id, Succeeded, peers[3])
		w.pass(399)
		says("a moment before it is over", "")
		w.pass(1)
		says("after it", `"status":"active",`+counts(0, 0, 4, 0, 0))
		w.pass(1000)
		says("the end", `"status":"mixed",`+counts(0, 0, 4, 0, 1))

		// What Redis did not take comes again; what the key may not publish does not.
		w.pass(60000)
		id = w.create(func(n *New) { n.Notify = "ops/progress" })
		p.err = protocol.Errorf(protocol.BackendError, "")
		w.claim(id, false, peers...)
		says("while Redis is away", `"status":"active",`+counts(5, 0, 0, 0, 0))
		w.pass(5000)
		p.err = protocol.Errorf(protocol.OverMessageQuota, "")
		says("again", `"status":"active",`+counts(5, 0, 0, 0, 0))
		w.pass(5000)
		says("over the quota", "")
		w.answers(id, Failed, peers...)
		name := w.keys.Bucket("app", channel).Command(id[7:])
		fixed := w.rdb.HGet(ctx, name, "fixed").Val()
		if err := w.rdb.HSet(ctx, name, "fixed", strings.Replace(fixed, "\nsk_a\n", "\nsk_gone\n", 1)).Err(); err != nil {
			t.Fatal(err)
		}
		says("when the key is gone", "")
		if n := w.rdb.ZCard(ctx, w.keys.Bucket("app", channel).Due(string(deadline.Commands))).Val(); n != 0 {
			t.Errorf("%d deadlines are left", n)
		}
	})
}
