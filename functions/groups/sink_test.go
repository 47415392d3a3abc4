package groups_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"fleetwire/functions/groups"
	"fleetwire/functions/internal/apitest"
	"fleetwire/functions/publish"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/group"
	door "fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/sink"
)

// endpoint is a Maker, and the target that it makes, which takes messages or does not.
type endpoint struct {
	fails atomic.Pointer[error] // nil: it takes messages
	taken atomic.Int64
}

func (e *endpoint) Resolve(_ context.Context, s *apps.Sink) (*apps.Sink, error) { return s, nil }
func (e *endpoint) New(context.Context, *apps.Sink) (sink.Target, error)        { return e, nil }
func (e *endpoint) Close() error                                                { return nil }

func (e *endpoint) Deliver(_ context.Context, batch []sink.Message) []error {
	if err := e.fails.Load(); err != nil {
		return sink.All(len(batch), *err)
	}
	e.taken.Add(int64(len(batch)))
	return sink.All(len(batch), nil)
}

// sinkShown is what GET shows of a group with a sink.
type sinkShown struct {
	Lag  int
	Sink struct {
		Type, State, LastError                              string
		LastErrorAt, FailingSince, RetryAt, LastDeliveredAt int64
	}
}

// GET shows what nodes find out of a sink, and a sink that has stopped goes on when it is resumed.
func TestSinkOnRedis(t *testing.T) {
	rdb := redistest.Patient(redistest.Start(t).Client())
	config, _ := apitest.Config(t)
	log := slog.New(slog.DiscardHandler)
	service := group.NewService(group.Options{Redis: rdb}, log)
	t.Cleanup(service.Close)
	h := groups.New(config, groups.Config{Groups: service, Sinks: sink.NewStates(rdb, rediskeys.Namespace{})})
	writes := publish.New(config, door.New(door.Options{Redis: rdb, Log: log, Now: time.Now}))
	post := func() {
		t.Helper()
		if w := apitest.Do(writes, apitest.Request("POST", "/v1/channels/devices%2Fa%2Falarms/publish", `{"data":1}`)); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	shown := func() (s sinkShown) {
		t.Helper()
		w := apitest.Do(h, apitest.Request("GET", "/v1/groups/crm", ""))
		if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return s
	}
	await := func(what string, is func(sinkShown) bool) {
		t.Helper()
		redistest.Eventually(t, 20*time.Second, what, func() bool { return is(shown()) })
	}
	if s := shown(); s.Sink.Type != "webhook" || s.Sink.State != "ok" {
		t.Errorf("before any node there is %+v", s)
	}

	e := &endpoint{}
	runner := sink.NewRunner(sink.Options{Redis: rdb, Apps: config.Apps, Node: "one", Maker: e, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); runner.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended; runner.Close(context.Background()) })
	post()
	await("it delivers", func(s sinkShown) bool { return s.Lag == 0 && s.Sink.LastDeliveredAt > 0 && s.Sink.State == "ok" })
	var away error = &sink.Unavailable{Reason: "the endpoint answered 503 Service Unavailable"}
	e.fails.Store(&away)
	post()
	await("it fails", func(s sinkShown) bool {
		return s.Lag == 1 && s.Sink.State == "failing" && s.Sink.LastError == "the endpoint answered 503 Service Unavailable" &&
			s.Sink.RetryAt > s.Sink.FailingSince && s.Sink.LastErrorAt >= s.Sink.FailingSince
	})
	gone := sink.ErrGone
	e.fails.Store(&gone)
	await("it is stopped", func(s sinkShown) bool { return s.Lag == 1 && s.Sink.State == "stopped" && s.Sink.RetryAt == 0 })
	e.fails.Store(nil)
	apitest.Want(t, apitest.Do(h, apitest.Request("POST", "/v1/groups/crm/resume", "")), http.StatusOK, `{"state":"ok"}`)
	await("it delivers again", func(s sinkShown) bool { return s.Lag == 0 && s.Sink.State == "ok" && s.Sink.FailingSince == 0 })
	if n := e.taken.Load(); n != 2 {
		t.Errorf("%d messages were taken", n)
	}
}
