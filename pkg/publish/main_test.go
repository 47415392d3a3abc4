package publish

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// patience is how long a test waits for what must come. It is only ever waited
// out by a test that fails.
const patience = 10 * time.Second

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// stand is a Sender without Redis: it keeps what it is given, and does with it
// what the test says.
type stand struct {
	*send.Sender // prepares

	mu       sync.Mutex
	messages map[*send.Outgoing]envelope.Message
	calls    [][]send.Batch
	began    chan struct{} // gets a value when a call begins
	gate     chan struct{} // nil: calls go through at once; else each takes a value
	answer   func([]send.Batch) error
}

func newStand() *stand {
	return &stand{
		Sender:   send.New(nil, rediskeys.Namespace{}, nil),
		messages: map[*send.Outgoing]envelope.Message{},
		began:    make(chan struct{}, 100_000),
		answer:   acceptAll,
	}
}

func acceptAll(batches []send.Batch) error {
	for _, b := range batches {
		for _, o := range b.Messages {
			o.Accepted = true
		}
	}
	return nil
}

func (s *stand) Prepare(m *envelope.Message) *send.Outgoing {
	o := s.Sender.Prepare(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages[o] = *m
	return o
}

func (s *stand) Send(_ context.Context, batches []send.Batch) error {
	s.mu.Lock()
	s.calls = append(s.calls, batches)
	gate := s.gate
	s.mu.Unlock()
	s.began <- struct{}{}
	if gate != nil {
		<-gate
	}
	return s.answer(batches)
}

// data is the data of the messages of one call, in order.
func (s *stand) data(call int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, b := range s.calls[call] {
		for _, o := range b.Messages {
			all = append(all, string(s.messages[o].Data))
		}
	}
	return all
}

func (s *stand) callCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// service is a Service on a stand.
type service struct {
	*Service
	sender *stand
	down   atomic.Bool
	now    time.Time

	mu       sync.Mutex
	observed map[string]int
}

func newStanding() *service {
	s := &service{sender: newStand(), now: time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC), observed: map[string]int{}}
	s.Service = newService(Options{
		Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return s.now },
		Observe: func(_, result string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.observed[result]++
		},
	}, s.sender, func() bool { return !s.down.Load() })
	return s
}

func (s *service) seen(result string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.observed[result]
}

// wait says how many messages wait for the round trip under way to end.
func (s *service) wait() int {
	s.Service.mu.Lock()
	defer s.Service.mu.Unlock()
	return s.waiting.messages
}

func app(id string, messages int64) *apps.App {
	return &apps.App{ID: id, Plan: apps.Plan{MaxMessagesPerPeriod: messages}}
}

func grant(a *apps.App, actions []apps.Action, patterns ...string) *auth.Grant {
	key := &apps.Key{ID: "sk_live_1", App: a}
	for _, p := range patterns {
		compiled, err := channel.Compile(p)
		if err != nil {
			panic(err)
		}
		key.Patterns = append(key.Patterns, compiled)
	}
	for _, action := range actions {
		key.Actions.Add(action)
	}
	return auth.KeyGrant(key, "server", nil)
}

// everything is a grant to publish anywhere in the app.
func everything(a *apps.App) *auth.Grant {
	return grant(a, []apps.Action{apps.ActionPublish}, "**")
}

// completions records what a Service tells, in order.
type completions struct {
	mu     sync.Mutex
	events []string
	all    chan struct{} // closed after so many Flushes
	left   int
}

func expect(flushes int) *completions {
	return &completions{all: make(chan struct{}), left: flushes}
}

func (c *completions) add(event string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, event)
}

func (c *completions) wait(t *testing.T) []string {
	t.Helper()
	select {
	case <-c.all:
	case <-time.After(patience):
		t.Fatal("not everything is answered")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events
}

// of is the Completion of one message.
func (c *completions) of(name string) Completion { return completion{c, name} }

type completion struct {
	*completions
	name string
}

func (c completion) Published(r Result) {
	if r.Err != nil {
		c.add(c.name + " " + string(r.Err.Code))
	} else {
		c.add(c.name)
	}
}

func (c completion) Flush() {
	c.add("flush")
	c.mu.Lock()
	c.left--
	if c.left == 0 {
		close(c.all)
	}
	c.mu.Unlock()
}
