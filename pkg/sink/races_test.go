package sink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
)

// Other nodes deliver the messages of a node that died when its leases end.
func TestNodeDies(t *testing.T) {
	s := redistest.Start(t)
	w := newWorld(t, s.Client(), groupWith(crm+`,"concurrency":1,"maxMessages":10`))
	w.group().AckTimeout = 300 * time.Millisecond // a document has whole seconds
	proxy := redistest.NewProxy(t, s.Addr())
	held := make(chan struct{})
	w.set(func(_ context.Context, batch []Message) []error { <-held; return All(len(batch), nil) })
	w.publish(1, 1, 20)
	dies := w.startOn(redistest.Client(t, proxy.URL()), quick)
	redistest.Eventually(t, patience, "one is under way", func() bool { return w.underway() == 1 })
	proxy.Cut()
	w.set(nil)
	w.start(quick)
	w.awaitTaken(20)
	w.awaitWaiting("lag 0 pending 0 dead 0")
	attempts := map[int]int{}
	for _, m := range w.all() {
		attempts[m.Attempt]++
	}
	if attempts[1] != 10 || attempts[2] != 10 {
		t.Errorf("attempts %v", attempts)
	}
	close(held) // it lives on, cut off, and thinks that it has delivered
	redistest.Eventually(t, patience, "its batch is taken, too", func() bool { return w.count() == 30 })
	dies.stop()
	if got := w.numbers(); got != "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20" {
		t.Errorf("taken: %s", got)
	}
}

// A worker that does not know what it has pulled gets nothing newer of those channels until the
// leases end: the order holds. So it is if it knows of some of it.
func TestLostPull(t *testing.T) {
	for _, tt := range []struct{ channels, answer int }{{1, 1}, {20, 2}} {
		t.Run(fmt.Sprint(tt.channels), func(t *testing.T) {
			s := redistest.Start(t)
			w := newWorld(t, s.Client(), groupWith(crm+`,"concurrency":1`))
			w.group().AckTimeout = 500 * time.Millisecond // a document has whole seconds
			proxy := redistest.NewProxy(t, s.Addr())
			var answers atomic.Int64
			lost := make(chan struct{})
			proxy.Pass(nil, func(piece []byte) ([]byte, bool) {
				if strings.Contains(string(piece), "c/") && answers.Add(1) == int64(tt.answer) { // it has messages
					close(lost)
					return nil, true
				}
				return piece, false
			})
			n := 2 * tt.channels
			w.publish(tt.channels, 1, n)
			w.startOn(redistest.Client(t, proxy.URL()), quick)
			<-lost
			w.publish(tt.channels, n+1, 2*n)
			w.awaitTaken(2 * n)
			last, again := map[string]int{}, 0
			for _, m := range w.all() {
				var number int
				_, _ = fmt.Sscan(string(m.Data), &number)
				if number <= last[m.Channel] {
					t.Errorf("%s: %d comes behind %d", m.Channel, number, last[m.Channel])
				}
				last[m.Channel] = number
				again += m.Attempt - 1
			}
			if got := w.count(); got != 2*n || again == 0 {
				t.Errorf("%d messages were taken, %d of them again", got, again)
			}
		})
	}
}

// Workers wait while Redis is away, and go on when it is back with its data: what it acknowledged
// arrives.
func TestRedisRestarts(t *testing.T) {
	s := redistest.StartAppending(t)
	w := newWorld(t, s.Client(), groupWith(crm+`,"maxMessages":5`))
	w.group().AckTimeout = 2 * time.Second // a document allows 30 s
	held := make(chan struct{})
	w.set(func(_ context.Context, batch []Message) []error { <-held; return All(len(batch), nil) })
	w.publish(3, 1, 50)
	one, two := s.Client(), s.Client()
	var asks counting
	one.AddHook(&asks)
	two.AddHook(&asks)
	w.startOn(one, quick)
	w.startOn(two, quick)
	redistest.Eventually(t, patience, "some are under way", func() bool { return w.underway() > 0 })
	s.Stop()
	w.set(nil)
	close(held) // so some are delivered whose acknowledgement has to wait
	redistest.Eventually(t, patience, "they are delivered", func() bool { return w.underway() == 0 && w.count() > 0 })
	before, asked := w.called(), asks.n.Load()
	redistest.Eventually(t, patience, "they ask redis", func() bool { return asks.n.Load() > asked+50 })
	if n := w.called() - before; n > 0 {
		t.Errorf("%d deliveries without redis", n)
	}
	s.Resume()
	w.awaitTaken(50)
	w.awaitWaiting("lag 0 pending 0 dead 0")
	seen := map[string]bool{}
	for _, m := range w.all() {
		seen[string(m.Data)] = true
	}
	if len(seen) != 50 {
		t.Errorf("%d messages arrived: %s", len(seen), w.numbers())
	}
}

// Nodes come and go, the target is away now and then, refuses some messages and fails on its own
// fault, and the document changes, all at once: every message arrives, and nothing is left.
func TestRacingNodes(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		const messages, channels = 400, 8
		documents := []string{crm, crm + `,"concurrency":1`, crm + `,"maxMessages":3`, crm + `,"concurrency":2,"maxMessages":20`}
		group := func(i int) string {
			return `{"name":"crm","patterns":["c/**"],"maxDeliver":100,"sink":{` + documents[i%len(documents)] + `}}`
		}
		w := newWorld(t, client(), group(0))
		var mu sync.Mutex
		r := rand.New(rand.NewPCG(1, 2))
		dice := func(n int) int { mu.Lock(); defer mu.Unlock(); return r.IntN(n) }
		w.set(func(_ context.Context, batch []Message) []error {
			switch dice(12) {
			case 0:
				return All(len(batch), &Unavailable{Reason: "away"})
			case 1:
				if dice(4) == 0 {
					panic("a library")
				}
			case 2:
				<-time.After(time.Duration(dice(10)) * time.Millisecond) // the target is slow
			}
			results := All(len(batch), nil)
			for i := range results {
				switch dice(30) {
				case 0:
					results[i] = &Refused{Reason: "no"}
				case 1:
					results[i] = &Unavailable{Reason: "throttled"}
				case 2:
					if dice(4) == 0 {
						results[i] = ErrGone
					}
				}
			}
			return results
		})
		ctx, cancel := context.WithCancel(context.Background())
		var disturbing sync.WaitGroup
		disturbing.Go(func() { // else each failure costs a second
			states := NewStates(w.rdb, keys)
			for {
				select {
				case <-w.seen.trouble:
					_ = states.Resume(ctx, w.app(), w.group())
				case <-ctx.Done():
					return
				}
			}
		})
		nodes := []*node{w.startOn(client(), quick), w.startOn(client(), quick), w.startOn(client(), quick)}
		for i := range 10 {
			w.publish(channels, i*messages/10+1, (i+1)*messages/10)
			one := dice(len(nodes))
			if i%2 == 0 {
				over, cancel := context.WithTimeout(ctx, time.Duration(dice(5))*time.Millisecond)
				nodes[one].Close(over)
				cancel()
			}
			nodes[one].stop()
			nodes[one] = w.startOn(client(), quick)
			if i%3 == 0 {
				w.use(group(i))
			}
		}
		w.awaitWaiting("lag 0 pending 0 dead 0")
		cancel()
		disturbing.Wait()
		for _, n := range nodes {
			n.stop()
		}
		seen, twice := map[string]bool{}, 0
		for _, m := range w.all() {
			if seen[string(m.Data)] {
				twice++
			}
			seen[string(m.Data)] = true
		}
		if len(seen) != messages || w.waiting() != "lag 0 pending 0 dead 0" {
			t.Errorf("%d messages arrived; the group has %s", len(seen), w.waiting())
		}
		if twice > 0 { // nothing was cut off, and no lease ended
			t.Errorf("%d messages were taken twice", twice)
		}
		if made, closed := len(w.made), w.closed; made != closed {
			t.Errorf("%d targets were made, and %d closed", made, closed)
		}
		if n := w.rdb.HLen(context.Background(), keys.GroupBytes("app", "crm")).Val(); n != 0 {
			t.Errorf("the group counts %v", fmt.Sprint(w.rdb.HGetAll(context.Background(), keys.GroupBytes("app", "crm")).Val()))
		}
	})
}
