package redisconn_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// shared is a client whose pipelines share round trips, and the hook that does that.
func shared(t *testing.T, addr string) (*redis.Client, *redisconn.Pipelines, *trips) {
	rdb := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	pipelines := redisconn.NewPipelines()
	rdb.AddHook(pipelines)
	return rdb, pipelines, countTrips(rdb)
}

func TestPipelinesShareRoundTrips(t *testing.T) {
	rdb, pipelines, trips := shared(t, redistest.Start(t).Addr())
	ctx := context.Background()
	var all sync.WaitGroup
	pipeline := func(i int) {
		all.Go(func() {
			p := rdb.Pipeline()
			set := p.Set(ctx, fmt.Sprint("k", i), i, 0)
			var bad *redis.IntCmd
			if i%7 == 3 {
				bad = p.LPush(ctx, fmt.Sprint("k", i), "x") // of the wrong type
			}
			get := p.Get(ctx, fmt.Sprint("k", i))
			_, err := p.Exec(ctx)
			if set.Err() != nil || get.Val() != fmt.Sprint(i) {
				t.Errorf("pipeline %d: set %v, got %q (%v)", i, set.Err(), get.Val(), get.Err())
			}
			if failed := bad != nil; failed != (err != nil) || failed && (!strings.Contains(err.Error(), "WRONGTYPE") || bad.Err() == nil) {
				t.Errorf("pipeline %d, with a command that fails: %v; error %v", i, failed, err)
			}
		})
	}
	release := trips.hold()
	pipeline(0)
	<-trips.held // it went out at once
	const n = 600
	for i := 1; i <= n; i++ {
		pipeline(i)
	}
	redistest.Eventually(t, patience, "all wait", func() bool { return pipelines.Waiting() == n })
	before := trips.pipelines.Load()
	release()
	all.Wait()
	if got := trips.pipelines.Load() - before; got != 2 {
		t.Errorf("%d pipelines of two or three commands took %d round trips, want 2", n, got)
	}
	if got := trips.largest.Load(); got > 1024 {
		t.Errorf("%d commands in one round trip", got)
	}
	if _, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.Ping(ctx); return nil }); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// A caller whose context ends takes nobody along with it.
func TestSharedRoundTripOfAnImpatientCaller(t *testing.T) {
	rdb, pipelines, trips := shared(t, redistest.Start(t).Addr())
	release := trips.hold()
	ping := func(ctx context.Context, answer chan<- error) {
		_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.Ping(ctx); return nil })
		answer <- err
	}
	first, impatient, other := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go ping(context.Background(), first)
	<-trips.held
	ctx, cancel := context.WithCancel(context.Background())
	go ping(ctx, impatient)
	redistest.Eventually(t, patience, "it waits", func() bool { return pipelines.Waiting() == 1 })
	go ping(context.Background(), other)
	redistest.Eventually(t, patience, "both wait", func() bool { return pipelines.Waiting() == 2 })
	cancel()
	if err := <-impatient; !errors.Is(err, context.Canceled) || !redisconn.NotSent(err) || !redisconn.Undone(err) {
		t.Errorf("%v, want that it was not sent", err)
	}
	alone := make(chan error, 1)
	go ping(redisconn.Alone(context.Background()), alone)
	<-trips.held // it did not wait for the first
	release()
	for name, answer := range map[string]chan error{"the first": first, "the other": other, "the one alone": alone} {
		if err := <-answer; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Those that wait behind a round trip that runs into its timeout do not each
// wait for one of their own.
func TestSharedRoundTripsWhenRedisHangs(t *testing.T) {
	m, _ := redistest.Embedded(t)
	rdb, pipelines, trips := shared(t, m.Addr())
	release := trips.hold()
	trips.lost = context.DeadlineExceeded
	const n = 100
	errs := make(chan error, n+1)
	ping := func() {
		p := rdb.Pipeline()
		cmd := p.Ping(context.Background())
		_, err := p.Exec(context.Background())
		errs <- errors.Join(err, cmd.Err())
	}
	go ping()
	<-trips.held
	for range n {
		go ping()
	}
	redistest.Eventually(t, patience, "all wait", func() bool { return pipelines.Waiting() == n })
	release()
	for range n + 1 {
		if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v, want the timeout", err)
		}
	}
	if got := trips.pipelines.Load(); got != 1 {
		t.Errorf("%d round trips ran into their timeout, want 1", got)
	}
	trips.lost = nil
	ping()
	if err := <-errs; err != nil {
		t.Errorf("when Redis answers again: %v", err)
	}
}

// A hook can turn a round trip away without a word to its commands.
func TestSharedRoundTripThatAHookTurnsAway(t *testing.T) {
	m, _ := redistest.Embedded(t)
	rdb, pipelines, trips := shared(t, m.Addr())
	rdb.AddHook(turnsAway{})
	release := trips.hold()
	errs := make(chan error, 6)
	ping := func() {
		p := rdb.Pipeline()
		cmd := p.Ping(context.Background())
		_, err := p.Exec(context.Background())
		errs <- cmp.Or(cmd.Err(), errors.New("none of the command's own"))
		errs <- err
	}
	go ping()
	<-trips.held
	go ping()
	go ping()
	redistest.Eventually(t, patience, "two wait", func() bool { return pipelines.Waiting() == 2 })
	release()
	for range 6 {
		if err := <-errs; !errors.Is(err, errTurnedAway) {
			t.Errorf("%v, want the hook's error", err)
		}
	}
}

var errTurnedAway = errors.New("turned away")

type turnsAway struct{ panics }

func (turnsAway) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return errTurnedAway }
}

// A transaction is sent by itself, and a panic below leaves nobody waiting.
func TestSharedRoundTripsAreLeftAlone(t *testing.T) {
	m, _ := redistest.Embedded(t)
	rdb, _, trips := shared(t, m.Addr())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	release := trips.hold()
	done := make(chan error, 2)
	go func() {
		_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error { p.Ping(ctx); return nil })
		done <- err
	}()
	<-trips.held
	go func() {
		_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.Ping(ctx); return nil })
		done <- err
	}()
	<-trips.held // beside it
	release()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}

	rdb.AddHook(panics{})
	func() {
		defer func() { _ = recover() }()
		_, _ = rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.Ping(ctx); return nil })
		t.Error("it did not panic")
	}()
	go func() {
		defer func() { _ = recover(); close(done) }()
		_, _ = rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.Ping(ctx); return nil })
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("a pipeline waits for ever after another's panic")
	}
}

type panics struct{}

func (panics) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (panics) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (panics) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { panic("below") }
}

// A pipeline that needs a new connection has it set up, by pipelines as well.
func TestPipelinesOverConnectionsThatAreSetUp(t *testing.T) {
	server := redistest.Start(t)
	if err := server.Client().Do(context.Background(), "CONFIG", "SET", "requirepass", "s3cret").Err(); err != nil {
		t.Fatal(err)
	}
	rdb := redistest.Client(t, "redis://:s3cret@"+server.Addr()+"/3?pool_size=3")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			p := rdb.Pipeline()
			set := p.Set(ctx, fmt.Sprint("k", i), i, 0)
			if _, err := p.Exec(ctx); err != nil || set.Err() != nil {
				t.Errorf("pipeline %d: %v", i, err)
			}
			if err := rdb.Get(ctx, fmt.Sprint("k", i)).Err(); err != nil {
				t.Errorf("reading %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

func TestUndone(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	ctx := context.Background()
	_ = m.Set("text", "x")
	if err := rdb.LPush(ctx, "text", "x").Err(); redisconn.NotSent(err) || !redisconn.Undone(err) {
		t.Errorf("%v is an answer: not sent %v, undone %v", err, redisconn.NotSent(err), redisconn.Undone(err))
	}
	m.Close()
	_, _ = rdb.Ping(ctx).Result() // the connection that it had
	if err := rdb.Ping(ctx).Err(); !redisconn.NotSent(err) || !redisconn.Undone(err) {
		t.Errorf("%v: not sent %v, undone %v", err, redisconn.NotSent(err), redisconn.Undone(err))
	}
	for _, err := range []error{nil, io.EOF, context.DeadlineExceeded, errors.New("read tcp: connection reset by peer")} {
		if redisconn.NotSent(err) || redisconn.Undone(err) {
			t.Errorf("%v proves nothing", err)
		}
	}
}
