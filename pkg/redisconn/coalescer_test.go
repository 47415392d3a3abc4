package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

const patience = 10 * time.Second

// trips counts a client's round trips, and can hold them up.
type trips struct {
	pipelines atomic.Int64
	largest   atomic.Int64
	mu        sync.Mutex
	gate      chan struct{} // nil: open
	held      chan struct{} // gets a value for each round trip that is held up
	lost      error         // takes the place of Redis's answer; set while nothing is under way
}

func countTrips(rdb *redis.Client) *trips {
	t := &trips{held: make(chan struct{}, 1000)}
	rdb.AddHook(t)
	return t
}

// hold stops round trips until the returned function is called.
func (t *trips) hold() (release func()) {
	gate := make(chan struct{})
	t.mu.Lock()
	t.gate = gate
	t.mu.Unlock()
	return func() {
		t.mu.Lock()
		t.gate = nil
		t.mu.Unlock()
		close(gate)
	}
}

func (t *trips) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (t *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (t *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		t.pipelines.Add(1)
		t.largest.Store(max(t.largest.Load(), int64(len(cmds))))
		t.mu.Lock()
		gate := t.gate
		t.mu.Unlock()
		if gate != nil {
			t.held <- struct{}{}
			<-gate
		}
		if t.lost != nil {
			for _, cmd := range cmds {
				cmd.SetErr(t.lost)
			}
			return t.lost
		}
		return next(ctx, cmds)
	}
}

// caller has calls of scripts share round trips.
type caller struct {
	coalescer *redisconn.Coalescer[*redisconn.Call]
}

func newCaller(rdb *redis.Client) caller {
	return caller{redisconn.NewCoalescer(func(ctx context.Context, calls []*redisconn.Call) error {
		return redisconn.Exec(ctx, rdb, calls)
	})}
}

func (c caller) Do(ctx context.Context, call *redisconn.Call) error {
	if err := c.coalescer.Do(ctx, call); err != nil {
		return err
	}
	return call.Reply.Err()
}

var echo = redis.NewScript(`if ARGV[1] == 'fail' then return redis.error_reply('ERR as asked') end return ARGV[1]`)

func TestCoalescer(t *testing.T) {
	both(t, func(t *testing.T, rdb *redis.Client) {
		ctx := context.Background()
		if err := echo.Load(ctx, rdb).Err(); err != nil {
			t.Fatal(err)
		}
		trips := countTrips(rdb)
		c := newCaller(rdb)
		const callers = 600
		var all sync.WaitGroup
		do := func(arg string) {
			all.Go(func() {
				one := call(echo, "k", arg)
				err := c.Do(ctx, one)
				if arg == "fail" {
					if err == nil || !strings.Contains(err.Error(), "as asked") {
						t.Errorf("a call that fails: %v", err)
					}
					return
				}
				if got, _ := one.Reply.Text(); err != nil || got != arg {
					t.Errorf("the caller of %s got %q (%v)", arg, got, err)
				}
			})
		}
		release := trips.hold()
		do("first")
		<-trips.held // it went out at once, alone
		if got := trips.largest.Load(); got != 1 {
			t.Errorf("the first round trip has %d calls, want 1", got)
		}
		for i := range callers {
			if i%10 == 0 {
				do("fail")
			} else {
				do(fmt.Sprint(i))
			}
		}
		redistest.Eventually(t, patience, "all callers wait", func() bool { return c.coalescer.Waiting() == callers })
		release()
		all.Wait()
		if got, want := trips.pipelines.Load(), int64(1+3); got != want {
			t.Errorf("%d round trips, want %d: one, and 600 callers in pipelines of 256", got, want)
		}
		if got := trips.largest.Load(); got != 256 {
			t.Errorf("the largest round trip has %d calls, want 256", got)
		}
	})
}

// TestCoalescerCallerGivesUp: it returns at once, and costs nobody else anything.
func TestCoalescerCallerGivesUp(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	trips := countTrips(rdb)
	c := newCaller(rdb)
	release := trips.hold()
	ctx, cancel := context.WithCancel(context.Background())
	first, waiting, other := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { first <- c.Do(ctx, call(echo, "k", "1")) }()
	<-trips.held
	go func() { waiting <- c.Do(ctx, call(echo, "k", "2")) }()
	go func() { other <- c.Do(context.Background(), call(echo, "k", "3")) }()
	redistest.Eventually(t, patience, "both wait", func() bool { return c.coalescer.Waiting() == 2 })
	cancel()
	for name, got := range map[string]chan error{"under way": first, "waiting": waiting} {
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller %s: %v", name, err)
		}
	}
	release()
	if err := <-other; err != nil {
		t.Errorf("another caller: %v", err)
	}
}

func TestCoalescerWithoutRedis(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	c := newCaller(rdb)
	m.Close()
	for range 3 {
		if err := c.Do(context.Background(), call(echo, "k", "1")); err == nil || !redisconn.Unreachable(err) {
			t.Errorf("without Redis: %v, want that it is unreachable", err)
		}
	}
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(context.Background(), call(echo, "k", "1")); err != nil {
		t.Errorf("with Redis again: %v", err)
	}
}

// TestCoalescerWhenRedisHangs: a thousand that wait are not kept waiting for one
// timeout after the other.
func TestCoalescerWhenRedisHangs(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	trips := countTrips(rdb)
	c := newCaller(rdb)
	release := trips.hold()
	trips.lost = context.DeadlineExceeded
	const callers = 1000
	errs := make(chan error, 1+callers)
	do := func() { errs <- c.Do(context.Background(), call(echo, "k", "1")) }
	go do()
	<-trips.held
	for range callers {
		go do()
	}
	redistest.Eventually(t, patience, "all wait", func() bool { return c.coalescer.Waiting() == callers })
	release()
	for range 1 + callers {
		if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v, want the timeout", err)
		}
	}
	if got := trips.pipelines.Load(); got != 1 {
		t.Errorf("%d round trips ran into their timeout, want 1", got)
	}
	trips.lost = nil
	if err := c.Do(context.Background(), call(echo, "k", "1")); err != nil {
		t.Errorf("when Redis answers again: %v", err)
	}
}

// TestCoalescerLetsGo: what has been answered is not kept.
func TestCoalescerLetsGo(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	c := newCaller(rdb)
	var answered []weak.Pointer[redisconn.Call]
	for range 10 {
		one := call(echo, "k", "1")
		if err := c.Do(context.Background(), one); err != nil {
			t.Fatal(err)
		}
		answered = append(answered, weak.Make(one))
	}
	redistest.Eventually(t, patience, "no call is kept in memory", func() bool {
		runtime.GC()
		for _, one := range answered {
			if one.Value() != nil {
				return false
			}
		}
		return true
	})
	runtime.KeepAlive(c)
}
