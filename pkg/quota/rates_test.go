package quota

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

func keyWith(id string, perSec, burst int) *apps.Key {
	return &apps.Key{ID: id, App: &apps.App{ID: "app", Limits: apps.Limits{RESTPerSec: perSec, RESTBurst: burst}}}
}

func rest(t *testing.T, l *RateLimiter, key *apps.Key) (bool, time.Duration) {
	t.Helper()
	ok, retryAfter, err := l.AllowREST(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	if ok && retryAfter != 0 {
		t.Errorf("allowed, and to be tried again after %v", retryAfter)
	}
	return ok, retryAfter
}

func TestRESTBurstAndRefill(t *testing.T) {
	for _, rate := range []struct{ perSec, burst int }{{1, 1}, {2, 5}, {3, 1}, {7, 10}, {100, 200}, {999, 3}} {
		t.Run(fmt.Sprintf("%d a second, burst %d", rate.perSec, rate.burst), func(t *testing.T) {
			c, rdb := newClock(t)
			l := NewRateLimiter(rdb, keys)
			key := keyWith("k", rate.perSec, rate.burst)
			for i := range rate.burst {
				if ok, _ := rest(t, l, key); !ok {
					t.Fatalf("request %d of a burst of %d refused", i+1, rate.burst)
				}
			}
			interval := time.Second / time.Duration(rate.perSec)
			for range 5 {
				ok, retryAfter := rest(t, l, key)
				if ok {
					t.Fatal("allowed over the burst")
				}
				if retryAfter <= 0 || retryAfter > interval+time.Millisecond {
					t.Fatalf("to be tried again after %v, want at most %v", retryAfter, interval)
				}
				// What it says is true to the millisecond.
				if retryAfter > time.Millisecond {
					c.pass(retryAfter - time.Millisecond)
					if ok, _ := rest(t, l, key); ok {
						t.Fatal("allowed earlier than was said")
					}
					c.pass(time.Millisecond)
				} else {
					c.pass(retryAfter)
				}
				if ok, _ := rest(t, l, key); !ok {
					t.Fatalf("refused after the %v that were said", retryAfter)
				}
			}
			// However long nobody comes, a burst is a burst.
			c.pass(24 * time.Hour)
			for range rate.burst {
				if ok, _ := rest(t, l, key); !ok {
					t.Fatal("refused after a day's rest")
				}
			}
			if ok, _ := rest(t, l, key); ok {
				t.Error("allowed over the burst after a day's rest")
			}
		})
	}
}

// TestRESTRate: over ten seconds of a request each millisecond, as many pass as
// the burst and the rate make.
func TestRESTRate(t *testing.T) {
	c, rdb := newClock(t)
	l := NewRateLimiter(rdb, keys)
	key := keyWith("k", 37, 11)
	passed := 0
	for range 10_000 / 5 {
		if ok, _ := rest(t, l, key); ok {
			passed++
		}
		c.pass(5 * time.Millisecond)
	}
	if want := 11 + 370; passed < want-1 || passed > want+1 {
		t.Errorf("%d requests passed, want %d", passed, want)
	}
}

func TestRESTKeysAreApart(t *testing.T) {
	_, rdb := newClock(t)
	l := NewRateLimiter(rdb, keys)
	for _, key := range []*apps.Key{keyWith("k", 1, 1), keyWith("k2", 1, 1), keyWith("K", 1, 1), keyWith("k}:rest:k", 1, 1)} {
		if ok, _ := rest(t, l, key); !ok {
			t.Errorf("key %s is refused for another's requests", key.ID)
		}
		if ok, _ := rest(t, l, key); ok {
			t.Errorf("key %s is allowed twice", key.ID)
		}
	}
	other := keyWith("k", 1, 1)
	other.App = &apps.App{ID: "other", Limits: other.App.Limits}
	if ok, _ := rest(t, l, other); !ok {
		t.Error("an app is refused for another's requests")
	}
}

// TestRESTLimitsChange: a new apps document holds for the bucket that is there.
func TestRESTLimitsChange(t *testing.T) {
	c, rdb := newClock(t)
	l := NewRateLimiter(rdb, keys)
	rest(t, l, keyWith("k", 1, 100))
	c.pass(time.Second)
	allowed := 0
	for range 20 {
		if ok, _ := rest(t, l, keyWith("k", 1, 5)); ok {
			allowed++
		}
	}
	if allowed != 5 {
		t.Errorf("%d allowed after the burst was lowered, want 5", allowed)
	}
}

// TestRedisClockGoesBack: Redis failed over to a machine whose clock is behind.
func TestRedisClockGoesBack(t *testing.T) {
	c, rdb := newClock(t)
	l := NewRateLimiter(rdb, keys)
	key := keyWith("k", 1, 3)
	rest(t, l, key)
	c.pass(-time.Hour)
	for range 2 {
		if ok, _ := rest(t, l, key); !ok {
			t.Error("what was left of the burst is refused")
		}
	}
	if ok, retryAfter := rest(t, l, key); ok || retryAfter > time.Second {
		t.Errorf("allowed %v, to be tried again after %v", ok, retryAfter)
	}
}

// TestRESTExtremes: limits at both ends of what an apps document may say.
func TestRESTExtremes(t *testing.T) {
	redistest.BothClients(t, func(t *testing.T, client func() *redis.Client) {
		l, ctx := NewRateLimiter(client(), keys), context.Background()
		const most = 1_000_000_000
		for i, rate := range []struct{ perSec, burst int }{{1, most}, {most, 1}, {most, most}, {1, 1}} {
			key := keyWith(fmt.Sprint("k", i), rate.perSec, rate.burst)
			for range 3 {
				if _, _, err := l.AllowREST(ctx, key); err != nil {
					t.Errorf("%d a second, burst %d: %v", rate.perSec, rate.burst, err)
				}
			}
		}
		keys, rdb := 0, client()
		for _, k := range rdb.Keys(ctx, "*").Val() {
			keys++
			if ttl := rdb.PTTL(ctx, k).Val(); ttl <= 0 {
				t.Errorf("%s never expires", k)
			}
		}
		if keys != 4 {
			t.Errorf("%d buckets, want 4", keys)
		}
	})
}

func TestRESTBurstIsExactOnAllNodes(t *testing.T) {
	c, _ := newClock(t)
	key := keyWith("k", 1, 150)
	var allowed atomic.Int64
	var all sync.WaitGroup
	for range 3 {
		l := NewRateLimiter(redistest.Client(t, "redis://"+c.Addr()), keys)
		for range 100 {
			all.Go(func() {
				if ok, _ := rest(t, l, key); ok {
					allowed.Add(1)
				}
			})
		}
	}
	all.Wait()
	if allowed.Load() != 150 {
		t.Errorf("%d of 300 allowed at one instant, want 150", allowed.Load())
	}
}

func TestConnects(t *testing.T) {
	c, rdb := newClock(t)
	l := NewRateLimiter(rdb, keys)
	ctx := context.Background()
	connect := func(app, address string, perMinute int) (bool, time.Duration) {
		t.Helper()
		ok, retryAfter, err := l.AllowConnect(ctx, app, address, perMinute)
		if err != nil {
			t.Fatal(err)
		}
		return ok, retryAfter
	}
	for i := range 3 {
		if ok, retryAfter := connect("app", "192.0.2.1", 3); !ok || retryAfter != 0 {
			t.Errorf("connect %d of 3: %v, %v", i+1, ok, retryAfter)
		}
		c.pass(10 * time.Second)
	}
	for range 5 { // refused connects do not make the window longer
		if ok, retryAfter := connect("app", "192.0.2.1", 3); ok || retryAfter != 30*time.Second {
			t.Errorf("connect 4 of 3 after 30 s: %v, to be tried again after %v; want false, 30s", ok, retryAfter)
		}
	}
	for _, other := range [][2]string{{"app", "192.0.2.11"}, {"app", "::1"}, {"other", "192.0.2.1"}, {"", "192.0.2.1"}, {"app", "2001:db8::1"}} {
		if ok, _ := connect(other[0], other[1], 3); !ok {
			t.Errorf("%s of app %q is refused for another's connects", other[1], other[0])
		}
	}
	c.pass(30*time.Second - time.Millisecond)
	if ok, retryAfter := connect("app", "192.0.2.1", 3); ok || retryAfter != time.Millisecond {
		t.Errorf("before the window ended: %v, %v", ok, retryAfter)
	}
	c.pass(time.Millisecond)
	if ok, _ := connect("app", "192.0.2.1", 3); !ok {
		t.Error("refused after the window ended")
	}
	c.pass(time.Hour)
	if keys := c.Keys(); len(keys) != 0 {
		t.Errorf("%q are kept", keys)
	}
}

func TestConnectsOnRedis(t *testing.T) {
	l := NewRateLimiter(redistest.Start(t).Client(), keys)
	var allowed atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			ok, retryAfter, err := l.AllowConnect(context.Background(), "app", "192.0.2.1", 60)
			if err != nil || !ok && (retryAfter <= 0 || retryAfter > connectWindow) {
				t.Errorf("%v, to be tried again after %v (%v)", ok, retryAfter, err)
			}
			if ok {
				allowed.Add(1)
			}
		})
	}
	all.Wait()
	if allowed.Load() != 60 {
		t.Errorf("%d connects allowed, want 60", allowed.Load())
	}
}

// TestConnectsAreCountedTogether: those that wait at the same time are counted by
// one script an app, each address by itself.
func TestConnectsAreCountedTogether(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		w, l := onWire(rdb), NewRateLimiter(rdb, keys)
		ctx := context.Background()
		if _, _, err := l.AllowConnect(ctx, "app", "before", 1); err != nil { // Redis knows the script
			t.Fatal(err)
		}
		limits := map[[2]string]int{ // by app and address
			{"app", "a"}: 3, {"app", "b"}: 1, {"app", "c"}: 100, {"app2", "a"}: 4, {"", "a"}: 2, {"", "b"}: 5,
		}
		const each = 6
		release := w.hold(t)
		var all sync.WaitGroup
		all.Go(func() { _, _, _ = l.AllowConnect(ctx, "app", "before", 1) })
		<-w.held
		trips, commands := w.pipelines.Load(), w.commands.Load()
		var mu sync.Mutex
		passed := map[[2]string]int{}
		for of, limit := range limits {
			for range each {
				all.Go(func() {
					ok, retryAfter, err := l.AllowConnect(ctx, of[0], of[1], limit)
					if err != nil || ok != (retryAfter == 0) || retryAfter < 0 || retryAfter > connectWindow {
						t.Errorf("%q: %v, to be tried again after %v (%v)", of, ok, retryAfter, err)
					}
					mu.Lock()
					defer mu.Unlock()
					if ok {
						passed[of]++
					}
				})
			}
		}
		redistest.Eventually(t, patience, "all wait", func() bool { return l.connects.Waiting() == each*len(limits) })
		release()
		all.Wait()
		for of, limit := range limits {
			if want := min(limit, each); passed[of] != want {
				t.Errorf("%d connects of %q pass, want %d", passed[of], of, want)
			}
		}
		if trips, commands := w.pipelines.Load()-trips, w.commands.Load()-commands; trips > each || commands > 3*trips {
			t.Errorf("%d round trips with %d commands, want few, with at most one for each app", trips, commands)
		}
		for _, key := range rdb.Keys(ctx, "*").Val() {
			if ttl := rdb.PTTL(ctx, key).Val(); ttl <= 0 || ttl > connectWindow {
				t.Errorf("%s expires in %v", key, ttl)
			}
		}
	})
}

// TestConnectsOfTwoLimits: while an apps document is replaced, connects that are
// counted together may be under different limits.
func TestConnectsOfTwoLimits(t *testing.T) {
	for name, limits := range map[string][3]int{"lowered": {5, 5, 1}, "raised": {1, 1, 5}} {
		t.Run(name, func(t *testing.T) {
			_, rdb := newClock(t)
			connects := make([]*connect, len(limits))
			for i, limit := range limits {
				connects[i] = &connect{app: "app", address: "a", perMinute: limit}
			}
			if err := countConnects(context.Background(), rdb, keys, connects); err != nil {
				t.Fatal(err)
			}
			for i, c := range connects {
				if want := i < limits[i]; c.passes != want || !want && c.wait != connectWindow {
					t.Errorf("connect %d under %d a minute: %v, to be tried again after %v", i+1, limits[i], c.passes, c.wait)
				}
			}
		})
	}
}

// TestChecksShareARoundTrip: what waits at the same time goes out together, and
// what asks for the same bucket in one script.
func TestChecksShareARoundTrip(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		w, l := onWire(rdb), NewRateLimiter(rdb, keys)
		ctx, key := context.Background(), keyWith("k", 1, 1000)
		rest(t, l, key)
		if _, _, err := l.AllowConnect(ctx, "app", "a", 1000); err != nil { // Redis knows both scripts
			t.Fatal(err)
		}
		release := w.hold(t)
		var all sync.WaitGroup
		all.Go(func() { rest(t, l, key) })
		<-w.held
		trips, commands := w.pipelines.Load(), w.commands.Load()
		const each = 100
		for range each {
			all.Go(func() { rest(t, l, key) })
			all.Go(func() {
				if ok, _, err := l.AllowConnect(ctx, "app", "a", 1000); !ok || err != nil {
					t.Errorf("%v (%v)", ok, err)
				}
			})
		}
		redistest.Eventually(t, patience, "all wait but the first connect", func() bool {
			return l.requests.Waiting() == each && l.connects.Waiting() == each-1
		})
		release()
		all.Wait()
		if trips, commands := w.pipelines.Load()-trips, w.commands.Load()-commands; trips > 3 || commands != 3 {
			t.Errorf("%d checks took %d commands in %d round trips, want 3: the first connect, the other connects, the requests", 2*each, commands, trips)
		}
	})
}

func TestLimiterWithoutRedis(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	l := NewRateLimiter(rdb, keys)
	m.Close()
	if ok, _, err := l.AllowREST(context.Background(), keyWith("k", 1, 1)); ok || err == nil || !redisconn.Unreachable(err) {
		t.Errorf("REST without Redis: %v (%v), want an error", ok, err)
	}
	if ok, _, err := l.AllowConnect(context.Background(), "app", "a", 1); ok || err == nil || !redisconn.Unreachable(err) {
		t.Errorf("a connect without Redis: %v (%v), want an error", ok, err)
	}
}

// TestLimiterWatchesHealth: while Redis is away, it is not asked.
func TestLimiterWatchesHealth(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w, l := onWire(rdb), NewRateLimiter(rdb, keys)
	h := redisconn.NewHealth(slog.New(slog.DiscardHandler))
	l.Watch(h)
	if ok, _ := rest(t, l, keyWith("k", 1, 2)); !ok {
		t.Error("refused although Redis is there")
	}
	w.lose(context.DeadlineExceeded)
	if _, _, err := l.AllowREST(context.Background(), keyWith("k", 1, 2)); err == nil || h.Up() {
		t.Errorf("%v without an answer, and Redis is taken for healthy: %v", err, h.Up())
	}
	before := w.pipelines.Load()
	for range 100 {
		if _, _, err := l.AllowREST(context.Background(), keyWith("k", 1, 2)); err == nil || !redisconn.Unreachable(err) {
			t.Errorf("%v, want that Redis is unreachable", err)
		}
	}
	if got := w.pipelines.Load(); got != before {
		t.Errorf("Redis was asked %d times while it was away", got-before)
	}
	w.lose(nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.Run(ctx, func(ctx context.Context) error { return rdb.Ping(ctx).Err() })
	}()
	redistest.Eventually(t, patience, "checks are made again", func() bool {
		_, _, err := l.AllowREST(context.Background(), keyWith("k", 1, 2))
		return err == nil
	})
	cancel()
	<-ended
	// A caller's own impatience says nothing about Redis.
	defer behindAnother(t, w, l)()
	impatient, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, _, err := l.AllowREST(impatient, keyWith("k", 1, 2)); !errors.Is(err, context.DeadlineExceeded) || !h.Up() {
		t.Errorf("%v, and Redis is taken for healthy: %v", err, h.Up())
	}
}

// behindAnother has further checks wait behind one that is under way, until done is
// called.
func behindAnother(t *testing.T, w *wire, l *RateLimiter) (done func()) {
	release := w.hold(t)
	var other sync.WaitGroup
	other.Go(func() { _, _, _ = l.AllowREST(context.Background(), keyWith("k", 1, 1)) })
	<-w.held
	return func() { release(); other.Wait() }
}

func TestLimiterCallerGivesUp(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w, l := onWire(rdb), NewRateLimiter(rdb, keys)
	defer behindAnother(t, w, l)()
	ctx, cancel := context.WithCancel(context.Background())
	gaveUp := make(chan error)
	go func() {
		_, _, err := l.AllowREST(ctx, keyWith("k", 1, 1))
		gaveUp <- err
	}()
	redistest.Eventually(t, patience, "it waits", func() bool { return l.requests.Waiting() == 1 })
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that the caller gave up", err)
	}
}
