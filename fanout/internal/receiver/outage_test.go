package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

const (
	// back is how soon everything must be as it was once Redis is there again.
	back = 2 * time.Second
	// gone is how soon a node must have noticed that Redis is not.
	gone = 5 * time.Second
	// linkDown is in the line that reports a lost link.
	linkDown = "link to redis is down"
)

// process publishes and receives, with its health, as a node does.
type process struct {
	*receiver.Receiver
	*send.Sender
	t      *testing.T
	health *redisconn.Health
	redis  redis.UniversalClient
	stop   func()
	log    *recorder

	mu        sync.Mutex
	got       map[string]int      // messages by channel
	sequences map[string][]uint64 // their numbers
}

func start(t *testing.T, server *redistest.Server, node string, changes ...func(*receiver.Options)) *process {
	t.Helper()
	return startOn(t, redistest.Open(t, server.URL(), server.TLS()), node, changes...)
}

// patient has a link that is open not given up because the machine is busy. It is for tests in
// which a link is cut, and not silent.
func patient(o *receiver.Options) { o.Patience = time.Minute }

// onServerAndCluster runs a test on one server, and on a Redis Cluster of one master: what
// happens to it happens to all of Redis.
func onServerAndCluster(t *testing.T, test func(t *testing.T, server *redistest.Server)) {
	onServer(t, test)
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.StartCluster(t))
	})
}

func onServer(t *testing.T, test func(t *testing.T, server *redistest.Server)) {
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.Start(t))
	})
}

// restart starts a server again, empty, and waits until it serves.
func restart(t *testing.T, server *redistest.Server) {
	t.Helper()
	if !server.IsClusterNode() {
		server.Restart()
		return
	}
	server.Resume()
	redistest.Eventually(t, gone, "the cluster is up", func() bool {
		return server.Client().Set(t.Context(), "up", 1, 0).Err() == nil
	})
}

func startOn(t *testing.T, rdb redis.UniversalClient, node string, changes ...func(*receiver.Options)) *process {
	t.Helper()
	p := prepareOn(t, rdb, node, changes...)
	p.run()
	return p
}

func prepareOn(t *testing.T, rdb redis.UniversalClient, node string, changes ...func(*receiver.Options)) *process {
	t.Helper()
	p := &process{t: t, redis: rdb, got: map[string]int{}, sequences: map[string][]uint64{}, log: &recorder{}}
	log := slog.New(p.log)
	p.health = redisconn.NewHealth(log)
	p.health.Of(rdb)
	p.Sender = send.New(p.redis, rediskeys.Namespace{}, p.health)
	opt := receiver.Options{Redis: p.redis, Health: p.health, Log: log, Node: node, Process: p.Process()}
	for _, change := range changes {
		change(&opt)
	}
	p.Receiver = receiver.New(opt)
	p.SetIdentity(node)
	return p
}

// run runs it until the test ends, and waits until it is live.
func (p *process) run() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		p.Run(ctx, func(batch []envelope.Delivery) int {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, d := range batch {
				p.got[d.Channel]++
				p.sequences[d.Channel] = append(p.sequences[d.Channel], d.ID.Sequence)
			}
			return len(batch)
		})
	})
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	p.t.Cleanup(p.stop)
	redistest.Eventually(p.t, gone, "the node is live", p.Live)
}

func (p *process) received(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[name]
}

// publish publishes one message and returns how many subscribers it had.
func (p *process) publish(name string) (int64, error) {
	o := p.Prepare(&envelope.Message{App: "app", Channel: name, From: "p", Data: []byte("1")})
	o.CountSubscribers = true
	c := quota.Counter{Key: "fw:{app}:messages:2026-01", Limit: quota.Unlimited, ExpiresAt: time.Now().Add(time.Hour)}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := p.Send(ctx, []send.Batch{{Counter: c, Messages: []*send.Outgoing{o}}})
	if err == nil && !o.Accepted {
		err = errors.New("refused without a cap")
	}
	return o.Subscribers, err
}

// subscribed states the subscriptions that the tests then expect to live on.
func (p *process) subscribed() {
	p.t.Helper()
	answers := make(chan error, 3)
	done := func(err error) { answers <- err }
	pattern, _ := channel.Compile("events/*")
	for _, err := range []error{
		p.SetSubscribers("app", "c", 3, done), p.SetSubscribers("app", "left", 4, done), p.AddPattern("app", pattern, done),
	} {
		if err != nil {
			p.t.Fatal(err)
		}
	}
	for range 3 {
		if err := answered(p.t, answers); err != nil {
			p.t.Fatal(err)
		}
	}
}

// expectBack wants everything as it was, within the time that is left.
func expectBack(t *testing.T, nodes ...*process) {
	t.Helper()
	left := redistest.NewBudget(back)
	for _, p := range nodes {
		left.Await(t, "the node is live again", p.Live)
		left.Await(t, "Redis is taken for healthy again", p.health.Up)
	}
	from := nodes[0]
	for _, name := range []string{"c", "events/1"} {
		before := make([]int, len(nodes))
		for i, p := range nodes {
			before[i] = p.received(name)
		}
		var subscribers int64
		left.Await(t, "a publish works again", func() (ok bool) {
			var err error
			subscribers, err = from.publish(name)
			return err == nil
		})
		for i, p := range nodes {
			left.Await(t, "a message is delivered again, once", func() bool { return p.received(name) == before[i]+1 })
		}
		want := int64(3 * len(nodes))
		if name == "c" && redisconn.IsCluster(from.redis) { // where a subscription does not wait for its count
			left.Await(t, "all subscribers are counted again", func() bool {
				n, err := from.publish(name)
				return err == nil && n == want
			})
		} else if name == "c" && subscribers != want {
			t.Errorf("%d subscribers after Redis came back, want %d", subscribers, want)
		}
	}
}

func TestRedisRestarts(t *testing.T) {
	t.Parallel()
	onServerAndCluster(t, func(t *testing.T, server *redistest.Server) {
		one, other := start(t, server, "one"), start(t, server, "other")
		one.subscribed()
		other.subscribed()
		for round := range 2 {
			server.Stop()
			redistest.Eventually(t, gone, "the nodes notice", func() bool { return !one.Live() && !other.Live() && !one.health.Up() })
			if _, err := one.publish("c"); err == nil {
				t.Error("a publish without Redis succeeded")
			}
			never := func(error) { t.Error("done was called although the call was refused") }
			if err := one.SetSubscribers("app", "c", 7, never); !errors.Is(err, receiver.ErrDown) {
				t.Errorf("SetSubscribers while down: %v, want ErrDown", err)
			}
			restart(t, server)
			expectBack(t, one, other)
			if _, err := one.publish(fmt.Sprint("nobody", round)); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestRedisHangs(t *testing.T) {
	t.Parallel()
	onServerAndCluster(t, func(t *testing.T, server *redistest.Server) {
		one, other := start(t, server, "one"), start(t, server, "other")
		one.subscribed()
		other.subscribed()
		server.Freeze()
		answer := make(chan error, 2)
		if err := one.SetSubscribers("app", "pending", 1, func(err error) { answer <- err }); err != nil {
			t.Fatalf("SetSubscribers before anybody could notice: %v", err)
		}
		if _, err := one.publish("c"); err == nil {
			t.Error("a publish to a Redis that hangs succeeded")
		}
		if one.health.Up() {
			t.Error("Redis is taken for healthy although a publish got no answer")
		}
		if err := answered(t, answer); !errors.Is(err, receiver.ErrDown) {
			t.Errorf("the pending subscription was answered with %v, want ErrDown", err)
		}
		redistest.Eventually(t, gone, "both nodes notice", func() bool { return !one.Live() && !other.Live() })
		// Counts that are set during the outage are in Redis after it.
		for _, p := range []*process{one, other} {
			if err := p.SetSubscribers("app", "left", 0, nil); err != nil {
				t.Fatal(err)
			}
		}
		listener, _ := channel.Compile("left")
		server.Thaw()
		expectBack(t, one, other)
		heard := make(chan error, 1)
		if err := other.AddPattern("app", listener, func(err error) { heard <- err }); err != nil {
			t.Fatal(err)
		}
		<-heard
		if n, err := one.publish("left"); err != nil || n != 0 {
			t.Errorf("%d subscribers (%v) of a channel that everybody left while Redis hung, want 0", n, err)
		}
		if n, err := one.publish("pending"); err != nil || n != 1 {
			t.Errorf("%d subscribers (%v) of the channel that was pending, want 1", n, err)
		}
	})
}

// TestLinkIsCut: Redis lives on, with everything it knows of the node.
func TestLinkIsCut(t *testing.T) {
	t.Parallel()
	onServerAndCluster(t, func(t *testing.T, server *redistest.Server) {
		one, other := start(t, server, "one", patient), start(t, server, "other", patient)
		one.subscribed()
		other.subscribed()
		admin := server.Client()
		cuts := 0
		cut := func() {
			t.Helper()
			cuts++
			if err := admin.Do(context.Background(), "client", "kill", "type", "pubsub").Err(); err != nil {
				t.Fatal(err)
			}
			redistest.Eventually(t, gone, "the nodes notice", func() bool {
				return one.log.with(linkDown) == cuts && other.log.with(linkDown) == cuts
			})
		}
		for range 5 {
			cut()
			expectBack(t, one, other)
		}
		var wrong atomic.Int64
		for i := range 3 {
			calls := new(atomic.Int64)
			answer := make(chan error, 1)
			if err := one.SetSubscribers("app", "d", i+1, func(err error) {
				if calls.Add(1) > 1 {
					wrong.Add(1)
				}
				answer <- err
			}); err != nil {
				t.Fatal(err)
			}
			cut()
			if err := answered(t, answer); err != nil && !errors.Is(err, receiver.ErrDown) {
				t.Errorf("done: %v", err)
			}
			expectBack(t, one, other)
		}
		if wrong.Load() > 0 {
			t.Error("done was called twice")
		}
		if n, err := one.publish("d"); err != nil || n != 3 {
			t.Errorf("%d subscribers (%v), want 3", n, err)
		}
	})
}

// TestStopsWhileRedisIsAway: a node must be able to end without Redis.
func TestStopsWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	for _, away := range []struct {
		name string
		how  func(*redistest.Server)
	}{
		{"stopped", (*redistest.Server).Stop},
		{"hanging", (*redistest.Server).Freeze},
	} {
		t.Run(away.name, func(t *testing.T) {
			t.Parallel()
			onServerAndCluster(t, func(t *testing.T, server *redistest.Server) {
				p := start(t, server, "node")
				p.subscribed()
				away.how(server)
				ended := make(chan struct{})
				go func() {
					p.stop()
					close(ended)
				}()
				redistest.Eventually(t, gone, "Run returns", func() bool { return isClosed(ended) })
			})
		})
	}
}

// TestOutageIsReportedOnce: not with each of the many attempts to connect.
func TestOutageIsReportedOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server, "node", patient)
	var dials attempts
	p.redis.AddHook(&dials)
	server.Stop()
	redistest.Eventually(t, 3*gone, "the node has tried to connect 20 times", func() bool { return dials.Load() >= 20 })
	if lines := p.log.with(linkDown); lines != 1 {
		t.Errorf("one outage is reported %d times, want once", lines)
	}
}

// TestRedisTakesNoCounts: a node that can't write its counts still receives.
func TestRedisTakesNoCounts(t *testing.T) {
	t.Parallel()
	onServerAndCluster(t, func(t *testing.T, server *redistest.Server) {
		p := start(t, server, "node", patient)
		p.subscribed()
		admin, ctx := server.Client(), context.Background()
		for _, key := range admin.Keys(ctx, "fw:*:subscribers:*").Val() {
			admin.Del(ctx, key)
			admin.Set(ctx, key, "in the way", 0)
		}
		answer := make(chan error, 1)
		if err := p.SetSubscribers("app", "c", 9, func(err error) { answer <- err }); err != nil {
			t.Fatal(err)
		}
		if err := answered(t, answer); err != nil {
			t.Errorf("subscribing fails with %v because of a count", err)
		}
		if !p.Live() || p.log.with(linkDown) != 0 {
			t.Error("the link was given up because of a count")
		}
		if lines := p.log.with("does not take this node's subscriber counts"); lines == 0 {
			t.Error("nothing in the log")
		}
	})
}

// TestRefusedCountsAreMadeUpFor: what changed while Redis took no writes is counted
// as soon as it does.
func TestRefusedCountsAreMadeUpFor(t *testing.T) {
	t.Parallel()
	for name, redis := range map[string]struct {
		refuse, take []string
		on           func(*testing.T, func(*testing.T, *redistest.Server))
	}{
		"maxmemory":             {[]string{"config", "set", "maxmemory", "1"}, []string{"config", "set", "maxmemory", "0"}, onServerAndCluster},
		"min-replicas-to-write": {[]string{"config", "set", "min-replicas-to-write", "1"}, []string{"config", "set", "min-replicas-to-write", "0"}, onServerAndCluster},
		// Nothing listens there. A node of a cluster takes no such command.
		"replicaof": {[]string{"replicaof", "127.0.0.1", "1"}, []string{"replicaof", "no", "one"}, onServer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis.on(t, func(t *testing.T, server *redistest.Server) {
				p := start(t, server, "node", patient)
				p.subscribed()
				do := admin(t, server)
				do(redis.refuse...)
				redistest.Eventually(t, gone, "the node notices", func() bool { return !p.health.Up() })
				answers := make(chan error, 2)
				for name, n := range map[string]int{"c": 9, "left": 0} {
					if err := p.SetSubscribers("app", name, n, func(err error) { answers <- err }); err != nil {
						t.Fatal(err)
					}
				}
				for range 2 {
					if err := answered(t, answers); err != nil {
						t.Fatal(err)
					}
				}
				do(redis.take...)
				for name, want := range map[string]int64{"c": 9, "left": 0} {
					redistest.Eventually(t, back, name+" is counted as it is", func() bool {
						n, err := p.publish(name)
						return err == nil && n == want
					})
				}
				if p.log.with(linkDown) > 0 {
					t.Error("the link was given up because of a count")
				}
			})
		})
	}
}

// recorder is a log that can be asked.
type recorder struct {
	mu      sync.Mutex
	lines   []string
	details []string // the same, with when and about what
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }
func (r *recorder) Handle(_ context.Context, line slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line.Message)
	details := line.Time.Format("05.000 ") + line.Message
	line.Attrs(func(a slog.Attr) bool {
		details += " " + a.String()
		return true
	})
	r.details = append(r.details, details)
	return nil
}

func (r *recorder) detailed() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.details)
}

func (r *recorder) with(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, line := range r.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// attempts counts connections that were tried.
type attempts struct{ atomic.Int64 }

func (a *attempts) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		a.Add(1)
		return next(ctx, network, addr)
	}
}
func (a *attempts) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (a *attempts) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
