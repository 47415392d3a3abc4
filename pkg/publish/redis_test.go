package publish

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// real is a Service on a Redis.
type real struct {
	*Service
	sender *hooked
	health *redisconn.Health
}

// hooked is a Sender that calls before, if there is one, before each round trip.
type hooked struct {
	*send.Sender
	before func()
}

func (h *hooked) Send(ctx context.Context, batches []send.Batch) error {
	if h.before != nil {
		h.before()
	}
	return h.Sender.Send(ctx, batches)
}

func newReal(t *testing.T, rdb *redis.Client) *real {
	log := slog.New(slog.NewTextHandler(t.Output(), nil)) // seen when a test fails
	s := &real{health: redisconn.NewHealth(log)}
	s.sender = &hooked{Sender: send.New(rdb, rediskeys.Namespace{}, s.health)}
	s.Service = newService(Options{Log: log, Now: time.Now}, s.sender, s.health.Up)
	return s
}

// TestQuotaRace: sockets and REST calls on two nodes race for the last messages
// of a plan, and exactly the plan's number is accepted (protocol §6).
func TestQuotaRace(t *testing.T) {
	redistest.BothClients(t, func(t *testing.T, client func() *redis.Client) {
		const limit, connections, each, calls = 777, 10, 84, 60
		a := app("app", limit)
		services := []*real{newReal(t, client()), newReal(t, client())}
		var ok, over, other atomic.Int64
		judge := func(err *protocol.Error) {
			switch {
			case err == nil:
				ok.Add(1)
			case err.Code == protocol.OverMessageQuota:
				over.Add(1)
			default:
				other.Add(1)
				t.Errorf("%v", err)
			}
		}
		var all sync.WaitGroup
		for i := range connections {
			s := services[i%2]
			all.Go(func() { // a socket submits without waiting
				var answered sync.WaitGroup
				for range each {
					answered.Add(1)
					if err := s.Submit(message(a, "1"), whenPublished(func(r Result) { judge(r.Err); answered.Done() })); err != nil {
						judge(err)
						answered.Done()
					}
				}
				answered.Wait()
			})
		}
		for i := range calls {
			s := services[i%2]
			all.Go(func() { // a REST call waits
				m := message(a, "1")
				m.CountSubscribers = true
				r := s.Publish(context.Background(), m)
				judge(r.Err)
				if (r.Err != nil) != (r.RetryAfter > 0) {
					t.Errorf("%v, to be tried again after %v", r.Err, r.RetryAfter)
				}
			})
		}
		all.Wait()
		if ok.Load() != limit || over.Load() != connections*each+calls-limit {
			t.Errorf("%d accepted and %d over quota, want %d and %d", ok.Load(), over.Load(), limit, connections*each+calls-limit)
		}
		counter := quota.Messages(rediskeys.Namespace{}, a, time.Now())
		if used := client().Get(context.Background(), counter.Key).Val(); used != "900" {
			t.Errorf("the counter is %s, want all 900 attempts", used)
		}
		// The plan is raised: the attempts that were refused stay counted.
		if r := services[0].Publish(context.Background(), message(app("app", 901), "1")); r.Err != nil {
			t.Errorf("after the plan was raised to 901: %v", r.Err)
		}
		if r := services[0].Publish(context.Background(), message(app("app", 901), "1")); r.Err == nil {
			t.Error("accepted over the raised plan")
		}
	})
}

type whenPublished func(Result)

func (f whenPublished) Published(r Result) { f(r) }
func (whenPublished) Flush()               {}

// TestRedisHangs: the first publish finds out, the next is refused at once.
func TestRedisHangs(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	s := newReal(t, rdb)
	a := app("app", 1000)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.health.Run(ctx, func(ctx context.Context) error { return rdb.Ping(ctx).Err() })
	}()
	defer func() {
		cancel()
		<-ended
	}()
	// After a new connection Redis is first asked for its time: a publish that fails
	// at that is known to have done nothing.
	if r := s.Publish(ctx, message(a, "1")); r.Err != nil {
		t.Fatal(r.Err)
	}
	server.Freeze()
	began := time.Now()
	if r := s.Publish(ctx, message(a, "1")); r.Err == nil || r.Err.Code != protocol.BackendError || r.Err.Outcome != protocol.OutcomeUnknown || !strings.Contains(r.Err.Message, "not known") {
		t.Errorf("Redis hangs: %v, want backend_error with an unknown outcome", r.Err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("a publish took %v to fail", took)
	}
	began = time.Now()
	for range 1000 {
		if r := s.Publish(ctx, message(a, "1")); r.Err == nil || r.Err.Outcome == protocol.OutcomeUnknown {
			t.Errorf("%v although nothing is sent to a Redis that hangs", r.Err)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("1000 publishes took %v to be refused, want at once", took)
	}
	server.Thaw()
	redistest.Eventually(t, 2*time.Second, "publishes work again", func() bool { return s.Publish(ctx, message(a, "1")).Err == nil })
}
