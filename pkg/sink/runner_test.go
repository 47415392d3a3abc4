package sink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/group"
	"fleetwire/pkg/redisconn/redistest"
)

// Two nodes share the work: each message is delivered once, and those of a channel in order.
func TestDelivers(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		w := newWorld(t, client(), groupWith(crm+`,"maxMessages":7`))
		w.publish(5, 1, 100) // before a node is there
		w.startOn(client(), quick)
		w.startOn(client(), quick)
		w.publish(5, 101, 300)
		w.awaitTaken(300)
		w.awaitWaiting("lag 0 pending 0 dead 0")
		w.wantOnce(300)
		if got := &w.seen; got.delivered.Load() != 300 || got.refused.Load()+got.givenBack.Load()+got.failed.Load() != 0 || got.begun.Load() != 2 || int(got.took.Load()) != w.called() {
			t.Errorf("observed %+v", got)
		}
		if s := w.state(); s.Condition != OK || s.LastDeliveredAt == 0 || s.LastError != "" {
			t.Errorf("state %+v", s)
		}
	})
}

// A message that comes alone is delivered at once, and not with the next look.
func TestDeliversAtOnce(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := newWorld(t, rdb, groupWith(crm))
	slow := quick
	slow.look = time.Hour
	nodes := redistest.Client(t, "redis://"+rdb.Options().Addr)
	var asks counting
	nodes.AddHook(&asks)
	n := w.startOn(nodes, slow)
	redistest.Eventually(t, patience, "the node hears of the group", func() bool {
		return w.rdb.PubSubNumSub(context.Background(), keys.GroupTopic("app", "crm")).Val()[keys.GroupTopic("app", "crm")] > 0
	})
	for i := 1; i <= 19; i++ {
		w.publish(3, i, i)
		w.awaitTaken(i)
	}
	// A worker that has had messages of a channel looks for more of them when it is done.
	held := make(chan struct{})
	w.set(func(context.Context, []Message) []error { <-held; return All(1, nil) })
	w.publish(1, 20, 20)
	redistest.Eventually(t, patience, "one is under way", func() bool { return w.underway() == 1 })
	asks.settle(t)
	w.publish(1, 21, 21)
	asks.settle(t) // another worker has looked, and found the channel served to the first
	w.set(nil)
	close(held)
	w.awaitTaken(21)
	n.stop()
	w.wantOnce(21)
}

// While a sink takes nothing, its messages wait, no worker pulls, and no delivery counts. When it is
// back, all come, in order.
func TestDownAndBack(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		w := newWorld(t, client(), groupWith(crm))
		w.set(always(&Unavailable{Reason: "the endpoint answered 503 Service Unavailable"}))
		w.startOn(client(), quick)
		w.startOn(client(), quick)
		w.publish(5, 1, 100)
		w.await(Failing)
		before := w.called()
		redistest.Eventually(t, patience, "it is tried again", func() bool { return w.called() > before })
		w.awaitWaiting("lag 100 pending 0 dead 0")
		first := w.state()
		if first.LastError != "the endpoint answered 503 Service Unavailable" || first.LastErrorAt < first.Since || first.RetryAt < first.LastErrorAt || first.LastDeliveredAt != 0 {
			t.Errorf("state %+v", first)
		}
		w.set(nil)
		if err := NewStates(w.rdb, keys).Resume(context.Background(), w.app(), w.group()); err != nil {
			t.Fatal(err)
		}
		w.awaitTaken(100)
		w.awaitWaiting("lag 0 pending 0 dead 0")
		w.wantOnce(100)
		if s := w.state(); s.Condition != OK || s.Since != 0 || s.RetryAt != 0 || s.LastError == "" {
			t.Errorf("state %+v", s)
		}
	})
}

// A sink that fails is tried by one worker of all nodes at a time, when its time has come.
func TestOneTries(t *testing.T) {
	c, rdb := redistest.Clocked(t)
	w := newWorld(t, rdb, groupWith(crm+`,"concurrency":1`))
	w.set(always(&Unavailable{Reason: "away", RetryAfter: time.Minute}))
	w.publish(10, 1, 1)
	w.start(quick)
	w.await(Failing)
	w.awaitWaiting("lag 1 pending 0 dead 0")
	w.awaitLooks(2) // so the only worker knows it
	for range 5 {
		w.start(quick)
	}
	w.publish(10, 2, 50)
	w.awaitLooks(20)
	before := w.called()
	held, begun := make(chan struct{}), make(chan struct{}, 100)
	w.set(func(_ context.Context, batch []Message) []error {
		begun <- struct{}{}
		<-held
		return All(len(batch), nil)
	})
	c.Pass(59 * time.Second)
	if s := w.state(); s.RetryAt <= c.Now.UnixMilli() {
		t.Errorf("at %d the state is %+v", c.Now.UnixMilli(), s)
	}
	if w.called() != before {
		t.Error("it was tried too early")
	}
	c.Pass(time.Second)
	<-begun
	w.awaitLooks(10) // by others
	if n := w.called() - before; n != 1 {
		t.Errorf("%d tries at once", n)
	}
	close(held)
	w.awaitTaken(50)
	w.await(OK)
}

// A batch that was under way when the target asked for a pause does not end it.
func TestPauseHolds(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb, groupWith(crm+`,"concurrency":2,"maxMessages":1`))
		held := make(chan struct{})
		var begun atomic.Bool
		w.set(func(_ context.Context, batch []Message) []error {
			if begun.CompareAndSwap(false, true) {
				<-held
				return All(len(batch), nil)
			}
			return All(len(batch), &Unavailable{Reason: "the endpoint answered 429 Too Many Requests", RetryAfter: time.Hour})
		})
		w.publish(8, 1, 8)
		w.start(quick)
		w.await(Failing)
		before := w.state()
		close(held)
		w.awaitWaiting("lag 7 pending 0 dead 0") // so it is told that one was taken
		w.awaitLooks(4)
		s := w.state()
		if s.Condition != Failing || s.RetryAt != before.RetryAt || s.LastDeliveredAt == 0 || w.called() != 2 {
			t.Errorf("state %+v after %d deliveries; it was %+v", s, w.called(), before)
		}
	})
}

// A target that is gone stops the sink until it is resumed, or until its entry changes.
func TestGone(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb, groupWith(crm))
		gone := func(first, last int) {
			t.Helper()
			w.set(always(fmt.Errorf("the endpoint answered 410 Gone: %w", ErrGone)))
			w.publish(3, first, last)
			w.await(Stopped)
			w.awaitWaiting(fmt.Sprintf("lag %d pending 0 dead 0", last-first+1))
			w.set(nil)
		}
		w.start(quick)
		w.start(quick)
		gone(1, 10)
		if s := w.state(); s.RetryAt != 0 || s.Since == 0 || !strings.Contains(s.LastError, "410 Gone") {
			t.Errorf("state %+v", s)
		}
		if err := NewStates(rdb, keys).Resume(context.Background(), w.app(), w.group()); err != nil {
			t.Fatal(err)
		}
		w.awaitTaken(10)
		gone(11, 20)
		w.use(groupWith(crm) + `,{"name":"other","patterns":["**"]}`) // which is nothing to the sink
		w.awaitLooks(10)
		if w.count() != 10 || w.state().Condition != Stopped {
			t.Error("a change elsewhere has resumed the sink")
		}
		w.use(groupWith(crm + `,"maxMessages":50`))
		w.awaitTaken(20)
		w.awaitWaiting("lag 0 pending 0 dead 0")
		w.wantOnce(20)
	})
}

// A message that the target refuses takes none with it: the others of its batch are delivered, and
// it becomes a dead letter.
func TestPoison(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb, groupWith(crm+`,"concurrency":1`))
		isPoison := func(m Message) bool { return string(m.Data) == "13" || string(m.Data) == "27" }
		var attempts []int
		w.set(func(_ context.Context, batch []Message) []error {
			if len(batch) > 1 {
				for _, m := range batch {
					if m.Attempt != 1 {
						t.Errorf("a message with attempt %d is delivered with others", m.Attempt)
					}
				}
			}
			if !slices.ContainsFunc(batch, isPoison) {
				return All(len(batch), nil)
			}
			for _, m := range batch {
				if string(m.Data) == "13" {
					locked(w.endpoint, func() int { attempts = append(attempts, m.Attempt); return 0 })
				}
			}
			return All(len(batch), &Refused{Reason: "the endpoint answered 400 Bad Request"}) // as a webhook does
		})
		w.publish(4, 1, 40)
		w.start(quick)
		w.awaitWaiting("lag 0 pending 0 dead 2")
		if got := locked(w.endpoint, func() string { return fmt.Sprint(attempts) }); got != "[1 2 3 4]" {
			t.Errorf("the poison came with the attempts %s", got)
		}
		if n := w.count(); n != 38 {
			t.Errorf("%d were taken: %s", n, w.numbers())
		}
		letters, _, err := w.store.Dead(context.Background(), w.app(), w.group(), "", 10)
		if err != nil || len(letters) != 2 || letters[0].Reason != group.ReasonNack || letters[0].Attempts != 4 {
			t.Errorf("dead letters %+v, %v", letters, err)
		}
		if got := &w.seen; got.delivered.Load() != 38 || got.refused.Load() < 8 || got.failed.Load() != 0 {
			t.Errorf("observed %+v", got)
		}
		if s := w.state(); s.Condition != OK || s.LastError != "the endpoint answered 400 Bad Request" || s.LastDeliveredAt == 0 {
			t.Errorf("state %+v", s)
		}
	})
}

// A target may take some messages of a batch, refuse some, and not take some now.
func TestPartialResults(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := newWorld(t, rdb, groupWith(crm+`,"concurrency":1`))
	calls := 0
	w.set(func(_ context.Context, batch []Message) []error {
		results := All(len(batch), nil)
		if calls++; calls > 1 {
			return results
		}
		for i, m := range batch {
			switch string(m.Data) {
			case "3":
				results[i] = &Refused{Reason: "too large"}
			case "5", "6":
				results[i] = &Unavailable{Reason: "throttled"}
			}
		}
		return results
	})
	w.publish(1, 1, 8)
	w.start(quick)
	w.awaitTaken(8)
	w.awaitWaiting("lag 0 pending 0 dead 0")
	attempts := map[string]int{}
	var order []string
	for _, m := range w.all() {
		order = append(order, string(m.Data))
		attempts[string(m.Data)] = m.Attempt
	}
	if got := strings.Join(order[:5], " "); got != "1 2 4 7 8" {
		t.Errorf("first %s were taken", got)
	}
	if attempts["3"] != 2 || attempts["5"] != 1 || attempts["6"] != 1 {
		t.Errorf("attempts %v", attempts)
	}
}

// A target's fault does not end the node, nor lose a message.
func TestFaultyTargets(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := newWorld(t, rdb, groupWith(crm))
	for what, answer := range map[string]func(context.Context, []Message) []error{
		"the target failed on its own fault; the log of the node has the details": func(context.Context, []Message) []error { panic("SEKRIT") },
		"the target said of 0 messages what became of them, and was given 1":      func(context.Context, []Message) []error { return nil },
		"no plan": always(errors.New("no plan")),
		"the target did not answer within 30ms": func(ctx context.Context, batch []Message) []error {
			<-ctx.Done()
			return All(len(batch), fmt.Errorf("post: %w", ctx.Err()))
		},
	} {
		n := w.count()
		w.set(answer)
		impatient := quick
		impatient.deliver = 30 * time.Millisecond
		node := w.start(impatient)
		w.publish(1, n+1, n+1)
		w.await(Failing)
		if s := w.state(); s.LastError != what {
			t.Errorf("the error is %q, want %q", s.LastError, what)
		}
		w.set(nil)
		w.awaitTaken(n + 1)
		w.await(OK)
		node.stop()
	}
	w.wantOnce(4)
}

// Secrets are read again when the target fails; one that cannot be read has the sink fail, with an
// error that says so, and the last good one stays in force.
func TestSecretsRotate(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := newWorld(t, rdb, groupWith(crm+`,"concurrency":1`)) // so no other worker has the former target
	set := func(value string) { locked(w.endpoint, func() int { w.secrets["env:CRM"] = value; return 0 }) }
	made := func() string { return locked(w.endpoint, func() string { return strings.Join(w.made, ", ") }) }
	set("")
	w.publish(1, 1, 1)
	n := w.start(quick)
	w.await(Failing)
	if s := w.state(); s.LastError != "secrets[0]: env:CRM is not set" {
		t.Errorf("state %+v", s)
	}
	if w.waiting() != "lag 1 pending 0 dead 0" {
		t.Errorf("the group has %s", w.waiting())
	}
	set("one")
	w.awaitTaken(1)
	expect := "one"
	w.set(func(ctx context.Context, batch []Message) []error {
		if got := ctx.Value(secretKey{}); got != expect {
			return All(len(batch), &Refused{Reason: "the endpoint answered 401 Unauthorized"})
		}
		return All(len(batch), nil)
	})
	locked(w.endpoint, func() int { expect = "two"; w.secrets["env:CRM"] = "two"; return 0 })
	w.publish(1, 2, 2)
	w.awaitTaken(2)
	if m := w.all()[1]; m.Attempt != 2 {
		t.Errorf("the message was taken at attempt %d", m.Attempt)
	}
	set("") // it is gone, and the last one stays
	w.set(always(&Unavailable{Reason: "away"}))
	w.publish(1, 3, 3)
	w.await(Failing)
	w.set(nil)
	w.awaitTaken(3)
	n.stop()
	const one, two = "https://crm.example.com/in one", "https://crm.example.com/in two"
	if got := made(); got != one+", "+two {
		t.Errorf("made %s", got)
	}
	if w.closed != 2 {
		t.Errorf("closed %d targets of 2", w.closed)
	}
	w.wantTargets(t)

	w.use(groupWith(crm))
	often := quick
	often.refresh = time.Nanosecond
	set("three")
	w.start(often)
	w.publish(1, 4, 4)
	w.awaitTaken(4)
	set("four") // nothing fails
	four := func() bool { return strings.HasSuffix(made(), "three, https://crm.example.com/in four") }
	for i := 5; i < 100 && !four(); i++ { // a worker that is about to pull has the former target
		w.publish(1, i, i)
		w.awaitTaken(i)
	}
	if !four() {
		t.Errorf("made %s", made())
	}
	taken := w.count()
	// A delivery that is under way goes on with the former target.
	held := make(chan struct{})
	w.set(func(ctx context.Context, batch []Message) []error {
		if ctx.Value(secretKey{}) == "four" {
			<-held
		}
		return All(len(batch), nil)
	})
	w.publish(7, 7, 7)
	redistest.Eventually(t, patience, "one is under way", func() bool { return w.underway() == 1 })
	set("five")
	w.publish(7, 8, 8)
	w.awaitTaken(taken + 1)
	close(held)
	w.awaitTaken(taken + 2)
	redistest.Eventually(t, patience, "the former target is closed", func() bool { return locked(w.endpoint, func() int { return w.closed }) == 4 })
	locked(w.endpoint, func() int { w.notMade = errors.New("the topic is none"); w.secrets["env:CRM"] = "six"; return 0 })
	w.publish(1, 9, 9)
	w.awaitTaken(taken + 3) // the last good target goes on
}

// wantTargets wants nothing to be under way.
func (w *world) wantTargets(t *testing.T) {
	t.Helper()
	if n := w.underway(); n != 0 {
		t.Errorf("%d deliveries are under way", n)
	}
}

// Sinks follow the document. A change elsewhere does not disturb one.
func TestDocumentChanges(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		const plain = `{"name":"crm","patterns":["c/**"]}`
		w := newWorld(t, rdb, plain)
		n := w.start(quick)
		w.publish(3, 1, 10)
		if w.count() != 0 {
			t.Error("a group without a sink is delivered")
		}
		w.use(groupWith(crm))
		w.awaitTaken(10)
		w.use(groupWith(crm) + `,{"name":"other","patterns":["d"]}`)
		w.publish(3, 11, 20)
		w.awaitTaken(20)
		if got := locked(w.endpoint, func() int { return len(w.made) }); got != 1 {
			t.Errorf("%d targets were made", got)
		}
		other := strings.Replace(crm, "/in", "/other", 1)
		w.use(groupWith(other))
		w.publish(3, 21, 30)
		w.awaitTaken(30)
		redistest.Eventually(t, patience, "the former target is closed", func() bool { return locked(w.endpoint, func() int { return w.closed }) == 1 })
		if got := locked(w.endpoint, func() string { return strings.Join(w.made, ", ") }); got != "https://crm.example.com/in one, https://crm.example.com/other one" {
			t.Errorf("made %s", got)
		}
		w.apps.Replace(directory(t, `"suspended":true,`, groupWith(other)))
		redistest.Eventually(t, patience, "an app that is suspended delivers nothing", func() bool { return locked(w.endpoint, func() int { return w.closed }) == 2 })
		w.use(groupWith(other))
		w.publish(3, 31, 40)
		w.awaitTaken(40)
		w.use(plain)
		redistest.Eventually(t, patience, "a sink that is gone is closed", func() bool { return locked(w.endpoint, func() int { return w.closed }) == 3 })
		w.publish(3, 41, 50)
		w.awaitWaiting("lag 10 pending 0 dead 0")
		w.use(groupWith(other))
		w.awaitTaken(50)
		n.stop()
		w.wantOnce(50)
		if got := &w.seen; got.begun.Load() != got.gone.Load() {
			t.Errorf("observed %+v", got)
		}
	})
}

// A node that drains finishes what is under way, and gives the rest back to the others.
func TestDrain(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		w := newWorld(t, client(), groupWith(crm+`,"concurrency":1,"maxMessages":10`))
		held := make(chan struct{})
		w.set(func(_ context.Context, batch []Message) []error { <-held; return All(len(batch), nil) })
		w.publish(1, 1, 30)
		one := w.startOn(client(), quick)
		redistest.Eventually(t, patience, "one is under way", func() bool { return w.underway() == 1 })
		one.Drain()
		two := w.startOn(client(), quick)
		if w.waiting() != "lag 20 pending 10 dead 0" {
			t.Errorf("the group has %s", w.waiting())
		}
		w.set(nil)
		close(held)
		one.stop()
		w.awaitTaken(30)
		w.awaitWaiting("lag 0 pending 0 dead 0")
		w.wantOnce(30)
		two.stop()

		// A delivery that takes too long is cut short, and does not count.
		w.set(func(ctx context.Context, batch []Message) []error { <-ctx.Done(); return All(len(batch), ctx.Err()) })
		w.publish(1, 31, 40)
		three := w.startOn(client(), quick)
		redistest.Eventually(t, patience, "one is under way", func() bool { return w.underway() == 1 })
		over, cancel := context.WithCancel(context.Background())
		cancel()
		three.Close(over)
		w.awaitWaiting("lag 10 pending 0 dead 0")
		if s := w.state(); s.Condition != OK {
			t.Errorf("state %+v", s)
		}
		w.set(nil)
		w.startOn(client(), quick)
		w.awaitTaken(40)
		w.wantOnce(40)
	})
}

// Messages that a node has pulled and not begun to deliver when it drains go back.
func TestDrainWhilePulling(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := newWorld(t, rdb, groupWith(crm+`,"concurrency":1`))
	w.publish(1, 1, 5)
	nodes := redistest.Client(t, "redis://"+rdb.Options().Addr)
	pulls, drained := make(chan struct{}), make(chan struct{})
	nodes.AddHook(&before{command: "hgetall", do: func() { close(pulls); <-drained }})
	n := w.startOn(nodes, quick)
	<-pulls
	n.Drain()
	close(drained)
	n.stop()
	if got := w.waiting(); got != "lag 5 pending 0 dead 0" || w.called() != 0 {
		t.Errorf("the group has %s after %d deliveries", got, w.called())
	}
}

// A node without a sink asks Redis nothing.
func TestNoSinkCostsNothing(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := newWorld(t, rdb, `{"name":"crm","patterns":["c/**"]}`)
	asked := redistest.Client(t, "redis://"+rdb.Options().Addr)
	var sent counting
	asked.AddHook(&sent)
	n := w.startOn(asked, quick)
	w.publish(1, 1, 10)
	if len(n.sinks) != 0 {
		t.Errorf("%d sinks", len(n.sinks))
	}
	n.stop()
	if got := sent.n.Load(); got != 0 {
		t.Errorf("%d calls to redis", got)
	}
}

var _ Maker = (*endpoint)(nil)
