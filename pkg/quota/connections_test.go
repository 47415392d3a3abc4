package quota

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
)

// ledger is a node's Connections while Run runs.
type ledger struct {
	*Connections
	t     *testing.T
	redis redis.UniversalClient
	stop  func()
}

func startLedger(t *testing.T, rdb redis.UniversalClient, node string) *ledger {
	c := NewConnections(rdb, keys, node)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	l := &ledger{Connections: c, t: t, redis: rdb, stop: func() { cancel(); <-ended }}
	t.Cleanup(l.stop)
	return l
}

// die ends the ledger as a crash does: nothing is given back.
func (l *ledger) die() {
	_ = l.redis.Close()
	l.stop()
}

// acquire takes a connection without a token.
func (l *ledger) acquire(app *apps.App) error {
	return l.apply(Applicant{App: app})
}

// apply acquires a connection, and waits for it.
func (l *ledger) apply(a Applicant) (err error) {
	answered := make(chan struct{})
	a.Done = func(e error) {
		err = e
		close(answered) // a second call panics
	}
	l.Acquire(a)
	select {
	case <-answered:
		return err
	case <-time.After(patience):
		return errors.New("no answer in time")
	}
}

// take acquires n connections at once and returns how many were granted.
func (l *ledger) take(app *apps.App, n int) int {
	l.t.Helper()
	var granted atomic.Int64
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			switch err := l.acquire(app); {
			case err == nil:
				granted.Add(1)
			case !errors.Is(err, ErrConnectionLimit):
				l.t.Errorf("Acquire: %v", err)
			}
		})
	}
	all.Wait()
	return int(granted.Load())
}

func (l *ledger) release(app *apps.App, n int) {
	for range n {
		l.Release(app.ID)
	}
}

// counted is what Redis says an app has on all nodes.
func counted(t *testing.T, rdb redis.UniversalClient, app *apps.App) int {
	t.Helper()
	all, err := rdb.HGetAll(context.Background(), "fw:{"+app.ID+"}:connections").Result()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for node, n := range all {
		if strings.HasPrefix(node, ":") {
			continue // of the peak
		}
		var one int
		if _, err := fmt.Sscan(n, &one); err != nil {
			t.Fatal(err)
		}
		sum += one
	}
	return sum
}

func appWith(connections int64) *apps.App {
	return &apps.App{ID: "app", Plan: apps.Plan{MaxConcurrentConnections: connections}}
}

func TestConnectionCapIsExact(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		const limit, each = 137, 300
		app, look := appWith(limit), client()
		ledgers := []*ledger{startLedger(t, client(), "one"), startLedger(t, client(), "other")}
		for round := range 3 {
			granted := make([]int, len(ledgers))
			var all sync.WaitGroup
			for i, l := range ledgers {
				all.Go(func() { granted[i] = l.take(app, each) })
			}
			all.Wait()
			if sum := granted[0] + granted[1]; sum != limit {
				t.Fatalf("round %d: %d connections granted, want exactly %d", round, sum, limit)
			}
			if got := counted(t, look, app); got != limit {
				t.Errorf("round %d: Redis counts %d, want %d", round, got, limit)
			}
			if got := ledgers[0].take(app, 3) + ledgers[1].take(app, 3); got != 0 {
				t.Errorf("round %d: %d granted over the cap", round, got)
			}
			for i, l := range ledgers {
				l.release(app, granted[i])
			}
			redistest.Eventually(t, patience, "all is given back", func() bool { return counted(t, look, app) == 0 })
		}
		for _, l := range ledgers {
			redistest.Eventually(t, patience, "the app is forgotten", func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.shares) == 0
			})
		}
		if left := look.Exists(context.Background(), "fw:{app}:connections", "fw:{app}:connections:leases").Val(); left != 0 {
			t.Errorf("%d keys are left", left)
		}
	})
}

// TestConnectionsNeverOverTheCap: connects and ends without a pause, on two nodes.
func TestConnectionsNeverOverTheCap(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		const limit = 10
		app, look := appWith(limit), client()
		ledgers := []*ledger{startLedger(t, client(), "one"), startLedger(t, client(), "other")}
		var open, granted atomic.Int64
		var all sync.WaitGroup
		for i := range 40 {
			l := ledgers[i%2]
			all.Go(func() {
				for range 25 {
					if l.take(app, 1) == 0 {
						continue
					}
					granted.Add(1)
					if n := open.Add(1); n > limit {
						t.Errorf("%d connections at once, want at most %d", n, limit)
					}
					open.Add(-1)
					l.Release(app.ID)
				}
			})
		}
		all.Wait()
		if granted.Load() < limit {
			t.Errorf("only %d connections granted in all", granted.Load())
		}
		redistest.Eventually(t, patience, "all is given back", func() bool { return counted(t, look, app) == 0 })
	})
}

func TestConnectionsOfAppsAreApart(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	l := startLedger(t, rdb, "node")
	ids := []string{"a", "a-b", "A", "a_"}
	var all sync.WaitGroup
	for _, id := range ids {
		app := &apps.App{ID: id, Plan: apps.Plan{MaxConcurrentConnections: 2}}
		all.Go(func() {
			if got := l.take(app, 5); got != 2 {
				t.Errorf("%s: %d granted, want 2", id, got)
			}
		})
	}
	all.Wait()
}

func TestConnectionsOfAPlanThatChanges(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	l := startLedger(t, rdb, "node")
	expect := func(what string, app *apps.App, want int) {
		t.Helper()
		if got := l.take(app, 4); got != want {
			t.Errorf("%s: %d granted, want %d", what, got, want)
		}
	}
	expect("cap of none", appWith(0), 0)
	expect("cap of 3", appWith(3), 3)
	expect("raised to 5", appWith(5), 2)
	expect("lowered to 2", appWith(2), 0)
	l.release(appWith(2), 3) // 2 are left
	expect("lowered to 2, with 2 left", appWith(2), 0)
	l.release(appWith(2), 1)
	expect("lowered to 2, with 1 left", appWith(2), 1)
	free := appWith(2)
	free.Plan.OveragesAllowed = true
	expect("overages not switched on", free, 0)
	free.Plan.OveragesEnabled = true
	expect("overages", free, 4)
	expect("overages taken back", appWith(2), 0)
	if got := counted(t, rdb, free); got != 6 {
		t.Errorf("Redis counts %d, want the overage too: 6", got)
	}
}

// TestReleasedTooOften: it must not make room that is not there.
func TestReleasedTooOften(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	l := startLedger(t, rdb, "node")
	app := appWith(2)
	l.Release("unknown")
	l.take(app, 2)
	l.release(app, 5)
	if got := l.take(app, 5); got != 2 {
		t.Errorf("%d granted, want 2", got)
	}
}

func TestDeadNodesLeaseRunsOut(t *testing.T) {
	c, rdb := newClock(t)
	app := appWith(5)
	dead := startLedger(t, redistest.Client(t, "redis://"+c.Addr()), "dead")
	if got := dead.take(app, 4); got != 4 {
		t.Fatalf("%d granted, want 4", got)
	}
	dead.die()
	alive := startLedger(t, rdb, "living")
	if got := alive.take(app, 5); got != 1 {
		t.Fatalf("%d granted beside a dead node's 4 of 5, want 1", got)
	}
	c.pass(connectionLease - time.Millisecond)
	if got := alive.take(app, 5); got != 0 {
		t.Errorf("%d granted before the lease ran out, want none", got)
	}
	c.pass(time.Millisecond)
	if got := alive.take(app, 5); got != 4 {
		t.Errorf("%d granted after the lease ran out, want the dead node's 4", got)
	}
	if connectionLease > 10*time.Second {
		t.Error("what a dead node held must be given back within 10 s (protocol §6)")
	}
	c.pass(2*connectionLease + time.Second)
	// What is left is the epoch, the period's peak and, for an hour, that the nodes were there.
	peak, _ := Peak(keys, app.ID, time.Now())
	if left := c.Keys(); !slices.Equal(left, []string{keys.Epoch(), keys.ConnectionLeases(app.ID), peak}) || c.TTL(peak) <= 0 {
		t.Errorf("nodes that died left %q, the peak for %v", left, c.TTL(peak))
	}
	c.pass(HoldersKept)
	if c.Exists(keys.ConnectionLeases(app.ID)) {
		t.Errorf("an hour later there still are %q", c.Keys())
	}
}

// TestStaleLease is the same on a real Redis, whose clock cannot be told.
func TestStaleLease(t *testing.T) {
	rdb := redistest.Start(t).Client()
	ctx := context.Background()
	const key = "fw:{app}:connections"
	rdb.HSet(ctx, key, "dead", 4, "alive", 2)
	rdb.ZAdd(ctx, key+":leases",
		redis.Z{Member: "dead", Score: float64(time.Now().Add(-time.Second).UnixMilli())},
		redis.Z{Member: "alive", Score: float64(time.Now().Add(time.Minute).UnixMilli())})
	rdb.Expire(ctx, key, connectionLease)
	rdb.Expire(ctx, key+":leases", HoldersKept)
	l := startLedger(t, rdb, "node")
	if got := l.take(appWith(7), 7); got != 5 {
		t.Errorf("%d granted of 7 beside a living node's 2, want 5", got)
	}
	if rdb.HExists(ctx, key, "dead").Val() {
		t.Error("the dead node is still listed")
	}
	for k, most := range map[string]time.Duration{key: 2 * connectionLease, key + ":leases": connectionLease + HoldersKept} {
		if ttl := rdb.PTTL(ctx, k).Val(); ttl <= 0 || ttl > most {
			t.Errorf("%s expires in %v, want at most %v", k, ttl, most)
		}
	}
}

// TestLeaseIsRenewed: nobody comes or goes for an hour.
func TestLeaseIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // which is never dialled
		var last atomic.Pointer[time.Time]
		var stated atomic.Int64
		rdb.AddHook(stand(func(held, wanted int64) (granted int64) {
			if last.Load() != nil && time.Since(*last.Load()) > connectionLease/2 {
				t.Errorf("the lease was renewed only after %v", time.Since(*last.Load()))
			}
			now := time.Now()
			last.Store(&now)
			stated.Store(held + wanted)
			return wanted
		}))
		l := startLedger(t, rdb, "node")
		l.take(appWith(9), 3)
		<-time.After(time.Hour)
		synctest.Wait()
		if time.Since(*last.Load()) > leaseRenewal || stated.Load() != 3 {
			t.Errorf("stated %d connections %v ago, want 3 within %v", stated.Load(), time.Since(*last.Load()), leaseRenewal)
		}
		l.release(appWith(9), 3)
		synctest.Wait()
		if stated.Load() != 0 {
			t.Errorf("stated %d connections after all ended, want 0", stated.Load())
		}
		last.Store(nil)
		<-time.After(time.Hour)
		if last.Load() != nil {
			t.Error("an app without connections is still renewed")
		}
		l.stop()
		_ = rdb.Close()
	})
}

// One master of a cluster that does not answer holds up the connects of all apps no longer than
// one trip may take.
func TestTripOfAClusterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}}) // which is never dialled
		defer rdb.Close()
		rdb.AddHook(mute{})
		l := startLedger(t, rdb, "node")
		defer l.stop()
		synctest.Wait() // the first trip is under way
		answer, begin := make(chan error, 1), time.Now()
		l.Acquire(Applicant{App: appWith(1), Done: func(err error) { answer <- err }})
		select {
		case err := <-answer:
			if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took != 2*checkTimeout {
				t.Errorf("answered %v after %v, want that its own trip has ended after the first", err, took)
			}
		case <-time.After(time.Minute):
			t.Fatal("the ledger waits for ever")
		}
	})
}

// A fleet that is asked for in parts does not wait for the next renewal between them.
func TestPartsOfAFleetDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // which is never dialled
		parts := 0
		rdb.AddHook(stand(func(_, wanted int64) (granted int64) {
			if wanted > 0 {
				parts++
			}
			return wanted
		}))
		l := startLedger(t, rdb, "node")
		synctest.Wait() // it has begun
		const fleet = 4*askedAtOnce + 1
		var answered atomic.Int64
		begin := time.Now()
		for range fleet {
			l.Acquire(Applicant{App: appWith(fleet), Done: func(err error) {
				if err == nil {
					answered.Add(1)
				}
			}})
		}
		synctest.Wait()
		if n, took := answered.Load(), time.Since(begin); n != fleet || took != 0 || parts < 5 {
			t.Errorf("%d of %d have a connection at once, after %v in %d parts", n, fleet, took, parts)
		}
		l.stop()
		_ = rdb.Close()
	})
}

// mute is a Redis that answers no pipeline.
type mute struct{}

func (mute) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (mute) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (mute) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		select {
		case <-ctx.Done():
		case <-time.After(time.Hour):
		}
		for _, cmd := range cmds {
			cmd.SetErr(ctx.Err())
		}
		return ctx.Err()
	}
}

// stand answers connections.lua in Redis's place, without a network.
type stand func(held, wanted int64) (granted int64)

func (stand) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (stand) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (s stand) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			args := cmd.Args() // evalsha, sha, 6, 6 keys, node, held, cap, lease, expiry, known, life, renew, peer, iat, exp, asks, …
			if args[2] == 1 {
				cmd.(*redis.Cmd).SetVal([]any{"an epoch", strconv.FormatInt(time.Now().UnixMilli(), 10)})
				continue
			}
			wanted := int64(len(args)-17) / 4
			n := s(args[10].(int64), wanted)
			reply := make([]any, wanted)
			for i := range wanted {
				reply[i] = min(max(n-i, 0), 1)
			}
			cmd.(*redis.Cmd).SetVal(reply)
		}
		return nil
	}
}

// wait waits until so many wait for the next trip: one more if a look at the epoch is under way,
// and not the first of them.
func (l *ledger) wait(app *apps.App, n int) {
	l.t.Helper()
	redistest.Eventually(l.t, patience, "all wait", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		s := l.shares[app.ID]
		return s != nil && len(s.waiting) == n
	})
}

// TestConnectsShareARoundTrip: those that come together are asked for together.
func TestConnectsShareARoundTrip(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := onWire(rdb)
	l := startLedger(t, rdb, "node")
	app := appWith(1000)
	l.take(app, 1) // Redis knows the script
	asked := w.asking.Load()
	release := w.hold(t)
	var all sync.WaitGroup
	all.Go(func() { l.take(app, 1) })
	<-w.held
	before := w.asking.Load()
	all.Go(func() { l.take(app, 500) })
	l.wait(app, 501-int(before-asked))
	release()
	all.Wait()
	if got := w.asking.Load() - before; got != 1 {
		t.Errorf("500 connects were asked for in %d round trips, want one", got)
	}
}

func TestNothingSecretInKeys(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	l := NewRateLimiter(rdb, keys)
	key := &apps.Key{ID: "sk_live_1", Secret: "hunter2", App: &apps.App{ID: "app", Limits: apps.DefaultLimits()}}
	if _, _, err := l.AllowREST(context.Background(), key); err != nil {
		t.Fatal(err)
	}
	for _, k := range rdb.Keys(context.Background(), "*").Val() {
		if strings.Contains(k, "hunter2") {
			t.Errorf("the secret is in the Redis key %s", k)
		}
	}
}
