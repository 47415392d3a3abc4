package receivertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

// longerThanLease is past the 30 s for which Redis keeps a dead node's counts.
const longerThanLease = 31 * time.Second

func testSubscribers(t *testing.T, s *system) {
	one, other, from := s.node(), s.node(), s.publisher()
	expect := func(app, name string, want int64) {
		t.Helper()
		if got := count(t, from, app, name); got != want {
			t.Errorf("%d subscribers of %q, want %d", got, name, want)
		}
	}
	expect("app", "c", 0)
	one.subscribe("app", "c", 3)
	expect("app", "c", 3)
	other.subscribe("app", "c", 700)
	expect("app", "c", 703)
	expect("other", "c", 0)
	expect("app", "C", 0)
	other.listen("app", "**") // wildcard subscriptions are not counted (protocol §5)
	expect("app", "c", 703)
	expect("app", "heard by wildcard alone", 0)
	one.subscribe("app", "c", 1)
	expect("app", "c", 701)
	other.subscribe("app", "c", 0)
	expect("app", "c", 1)
	one.subscribe("app", "c", 0)
	expect("app", "c", 0)
	other.subscribe("app", "c", 2)
	expect("app", "c", 2)

	// A message that did not ask is not told; one over its cap reached no subscriber.
	o := from.Prepare(&envelope.Message{App: "app", Channel: "c", From: "p", Data: []byte("1")})
	sendTo(t, from, unlimited("app"), o)
	if o.Subscribers != 0 {
		t.Errorf("%d subscribers for a message that did not ask", o.Subscribers)
	}
	o = from.Prepare(&envelope.Message{App: "app", Channel: "c", From: "p", Data: []byte("1")})
	o.CountSubscribers = true
	sendTo(t, from, quota.Counter{Key: keys.MessageCount("app", "full"), Limit: 0, ExpiresAt: time.Now().Add(time.Hour)}, o)
	if o.Accepted || o.Subscribers != 0 {
		t.Errorf("a message over its cap: accepted %v, %d subscribers", o.Accepted, o.Subscribers)
	}
}

// testEmptiedBucket: the last subscriber of a node goes, a message is published
// meanwhile, and a subscriber comes again.
func testEmptiedBucket(t *testing.T, s *system) {
	n, witness, from := s.node(), s.node(), s.publisher()
	witness.listen("app", "**")
	for round := range 3 {
		n.subscribe("app", "c", 1)
		if got := count(t, from, "app", "c"); got != 1 {
			t.Fatalf("round %d: %d subscribers, want 1", round, got)
		}
		if ttl := leaseOf(t, s, "c"); ttl <= 0 || ttl > 30*time.Second {
			t.Fatalf("round %d: the count would be kept for %v after the node's death, want at most 30s", round, ttl)
		}
		n.subscribe("app", "c", 0)
		if got := count(t, from, "app", "c"); got != 0 {
			t.Fatalf("round %d: %d subscribers, want 0", round, got)
		}
	}
}

// leaseOf is the time to live of the only hash that counts the channel.
func leaseOf(t *testing.T, s *system, name string) time.Duration {
	t.Helper()
	ctx := context.Background()
	for _, key := range s.keys("fw:*:subscribers:*") {
		if s.Redis.HExists(ctx, key, name).Val() {
			return s.Redis.TTL(ctx, key).Val()
		}
	}
	t.Fatalf("nothing counts %q", name)
	return 0
}

func testDeadNode(t *testing.T, s *system) {
	dead, alive, from := s.node(), s.node(), s.publisher()
	alive.listen("app", "**")
	for i := range 20 {
		dead.subscribe("app", fmt.Sprint("c", i), i+1)
	}
	dead.die()
	if got := count(t, from, "app", "c9"); got != 10 {
		t.Fatalf("%d subscribers before the lease ran out, want 10", got)
	}
	s.Elapse(longerThanLease)
	for i := range 20 {
		if got := count(t, from, "app", fmt.Sprint("c", i)); got != 0 {
			t.Errorf("%d subscribers of a dead node, want 0", got)
		}
	}
	s.Elapse(10 * longerThanLease)
	if keys := s.keys("fw:{app.*"); len(keys) != 0 {
		t.Errorf("a dead node left %q", keys)
	}
}

func testStoppedNode(t *testing.T, s *system) {
	stopped, alive, from := s.node(), s.node(), s.publisher()
	alive.subscribe("app", "c", 1)
	stopped.subscribe("app", "c", 5)
	stopped.subscribe("app", "d", 5)
	stopped.stop()
	if got := count(t, from, "app", "c"); got != 1 {
		t.Errorf("%d subscribers after a node stopped in order, want 1", got)
	}
}

// testCap has two nodes race for the last messages of a plan.
func testCap(t *testing.T, s *system) {
	const limit, calls, perCall = 701, 20, 25
	n := s.node()
	n.subscribe("app", "c", 1)
	publishers := []*send.Sender{n.Sender, s.publisher()}
	var mu sync.Mutex
	accepted := 0
	var all sync.WaitGroup
	for _, b := range publishers {
		all.Go(func() {
			for range calls {
				var messages []*send.Outgoing
				for range perCall {
					messages = append(messages, b.Prepare(&envelope.Message{App: "app", Channel: "c", From: "p", Data: []byte("1")}))
				}
				sendTo(t, b, counter("app", limit), messages...)
				refused := false
				for _, o := range messages {
					if o.Accepted && refused {
						t.Error("a message was accepted after one before it was refused")
					}
					refused = refused || !o.Accepted
					if o.Accepted {
						mu.Lock()
						accepted++
						mu.Unlock()
					}
				}
			}
		})
	}
	all.Wait()
	if accepted != limit {
		t.Errorf("%d messages accepted, want exactly %d", accepted, limit)
	}
	attempts := len(publishers) * calls * perCall
	if used, err := s.Redis.Get(context.Background(), counter("app", limit).Key).Int(); err != nil || used != attempts {
		t.Errorf("the counter is %d (%v), want all %d attempts", used, err, attempts)
	}
	if got := n.settle(n.Sender); len(got) != limit {
		t.Errorf("%d messages delivered, want %d", len(got), limit)
	}
}

func testUnlimited(t *testing.T, s *system) {
	b := s.publisher()
	for range 3 {
		var messages []*send.Outgoing
		for range 10 {
			messages = append(messages, b.Prepare(&envelope.Message{App: "app", Channel: "c", From: "p", Data: []byte("1")}))
		}
		sendTo(t, b, unlimited("app"), messages...)
		for _, o := range messages {
			if !o.Accepted {
				t.Fatal("a message without cap was refused")
			}
		}
	}
	if used, err := s.Redis.Get(context.Background(), unlimited("app").Key).Int(); err != nil || used != 30 {
		t.Errorf("the counter is %d (%v), want 30", used, err)
	}
}

// testBatches publishes for several apps in one call: a full, an empty and an
// unlimited plan do not touch each other.
func testBatches(t *testing.T, s *system) {
	n := s.node()
	limits := map[string]int64{"full": 0, "some": 2, "open": quota.Unlimited}
	var batches []send.Batch
	for _, app := range []string{"full", "some", "open"} {
		n.subscribe(app, "c", 4)
		batch := send.Batch{Counter: counter(app, limits[app])}
		for range 5 {
			o := n.Prepare(&envelope.Message{App: app, Channel: "c", From: "p", Data: []byte(`"` + app + `"`)})
			o.CountSubscribers = true
			batch.Messages = append(batch.Messages, o)
		}
		batches = append(batches, batch)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Send(ctx, batches); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{0, 2, 5} {
		for j, o := range batches[i].Messages {
			if o.Accepted != (j < want) {
				t.Errorf("batch %d: message %d accepted: %v", i, j, o.Accepted)
			}
			if subscribers := int64(4); o.Accepted && o.Subscribers != subscribers || !o.Accepted && o.Subscribers != 0 {
				t.Errorf("batch %d: message %d has %d subscribers", i, j, o.Subscribers)
			}
		}
	}
	if got := n.settle(n.Sender); len(got) != 7 {
		t.Errorf("%d messages delivered, want 7", len(got))
	}
	if err := n.Send(ctx, nil); err != nil {
		t.Errorf("nothing to publish: %v", err)
	}
}

// testFailedBatch: what is wrong with one app's counter must not cost another
// app its messages, or have it told that they were not published.
func testFailedBatch(t *testing.T, s *system) {
	n := s.node()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Redis.HSet(ctx, counter("broken", 9).Key, "not", "a counter").Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // with a script that Redis does not know, and with one it does
		var batches []send.Batch
		for _, app := range []string{"first", "broken", "last"} {
			n.subscribe(app, "c", 2)
			o := n.Prepare(&envelope.Message{App: app, Channel: "c", From: "p", Data: []byte("1")})
			o.CountSubscribers = true
			batches = append(batches, send.Batch{Counter: counter(app, 9), Messages: []*send.Outgoing{o}})
		}
		if err := n.Send(ctx, batches); err == nil {
			t.Error("no error although a counter is broken")
		}
		for i, want := range []bool{true, false, true} {
			if o := batches[i].Messages[0]; o.Accepted != want || (o.Subscribers == 2) != want {
				t.Errorf("batch %d: accepted %v with %d subscribers", i, o.Accepted, o.Subscribers)
			}
		}
	}
	if got := n.settle(n.Sender); len(got) != 4 {
		t.Errorf("%d messages delivered, want 4", len(got))
	}
}

func testExpiry(t *testing.T, s *system) {
	b := s.publisher()
	c := counter("app", 100)
	c.ExpiresAt = time.Now().Add(40 * 24 * time.Hour)
	for range 2 { // the second message must not change it
		sendTo(t, b, c, b.Prepare(&envelope.Message{App: "app", Channel: "c", From: "p", Data: []byte("1")}))
		ctx := context.Background()
		before := s.Redis.Time(ctx).Val() // by Redis's clock, as the counter is
		ttl := s.Redis.TTL(ctx, c.Key).Val()
		after := s.Redis.Time(ctx).Val()
		if least, most := c.ExpiresAt.Sub(after)-2*time.Second, c.ExpiresAt.Sub(before)+2*time.Second; ttl < least || ttl > most {
			t.Errorf("the counter expires in %v, want %v to %v", ttl, least, most)
		}
	}
}

func testLive(t *testing.T, s *system) {
	r, _ := s.receiver(s.Client())
	if r.Live() {
		t.Error("live although Run does not run")
	}
	n := s.node()
	n.subscribe("app", "c", 1)
	if !n.Live() {
		t.Error("not live although everything is confirmed")
	}
	n.stop()
	redistest.Eventually(t, patience, "a stopped node is not live", func() bool { return !n.Live() })
}
