package command

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

// counted counts what channels cost.
type counted map[string]int

func (c counted) Published(app, channel, peer string, bytes int) {
	c[app+" "+channel+" "+peer] += bytes
}

func newTestService(t *testing.T, w *world, change func(*apps.App)) (*Service, counted) {
	app := *w.key.App
	app.Limits.RESTBurst = 50
	change(&app)
	key := *w.key
	key.App = &app
	w.key = &key
	usage := counted{}
	waits := newTestWaits(t, w)
	return NewService(ServiceOptions{Store: w.store, Waits: waits, Keys: w.keys, Usage: usage}), usage
}

// used is how many messages are counted.
func (w *world) used() int64 {
	w.t.Helper()
	n, err := w.rdb.Get(context.Background(), quota.Messages(w.keys, w.key.App, time.Now()).Key).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		w.t.Fatal(err)
	}
	return n
}

func TestACommandIsOneMessage(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		s, usage := newTestService(t, w, func(a *apps.App) { a.Plan.MaxMessagesPerPeriod = 102 })
		ctx := context.Background()
		refused := func(what string, n New, code protocol.Code, counts int64) *Refusal {
			t.Helper()
			before := w.used()
			c, refusal := s.Create(ctx, n, 0)
			if refusal == nil || refusal.Code != code || w.used()-before != counts {
				t.Fatalf("%s: %+v %+v, %d messages counted; want %s, %d", what, c, refusal, w.used()-before, code, counts)
			}
			return refusal
		}
		refused("nobody there", w.with(nil), protocol.NobodySubscribed, 0)

		queued := func(n *New) { n.TTL = time.Minute; n.HasToken = true }
		for i := range MaxQueued {
			n := w.with(queued)
			if i == 0 {
				n.IdempotencyKey = "k"
			}
			if c, refusal := s.Create(ctx, n, 0); refusal != nil || c.Status != Waiting {
				t.Fatalf("command %d: %+v %+v", i, c, refusal)
			}
		}
		if n := w.used(); n != MaxQueued {
			t.Errorf("%d messages are counted for %d commands", n, MaxQueued)
		}
		if got := usage["app "+channel+" server"]; got != MaxQueued*len(`{"cmd":"reboot"}`) {
			t.Errorf("usage has %d bytes", got)
		}
		refused("a full queue", w.with(queued), protocol.QueueFull, 0)
		if c, refusal := s.Create(ctx, w.with(func(n *New) { queued(n); n.IdempotencyKey = "k" }), 0); refusal != nil || c.Status != Waiting || w.used() != MaxQueued {
			t.Errorf("repeated: %+v %+v, %d counted", c, refusal, w.used())
		}
		refused("another body", w.with(func(n *New) { n.IdempotencyKey = "k" }), protocol.IdempotencyConflict, 0)

		w.join("a")
		for range 2 {
			if _, refusal := s.Create(ctx, w.with(nil), 0); refusal != nil {
				t.Fatal(refusal)
			}
		}
		// Refused attempts count, as those of messages do.
		if over := refused("over the cap", w.with(nil), protocol.OverMessageQuota, 1); over.RetryAfter <= 0 {
			t.Errorf("retry after %v", over.RetryAfter)
		}
		// What is given back makes no room that was not there.
		refused("over the cap again", w.with(func(n *New) { n.IdempotencyKey = "k" }), protocol.OverMessageQuota, 1)
		before := w.used()
		c, refusal := s.Create(ctx, w.with(func(n *New) { queued(n); n.IdempotencyKey = "k" }), 0)
		if refusal != nil || c.Status != Active && c.Status != Waiting || w.used() != before {
			t.Errorf("repeated over the cap: %+v %+v, %d counted", c, refusal, w.used()-before)
		}
		refused("new, over the cap", w.with(func(n *New) { queued(n); n.IdempotencyKey = "l" }), protocol.OverMessageQuota, 1)
	})
}

func TestCommandsTakeTokens(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		s, _ := newTestService(t, w, func(a *apps.App) { a.Limits.RESTPerSec, a.Limits.RESTBurst = 1, 2 })
		w.join("a")
		for range 2 {
			if _, refusal := s.Create(context.Background(), w.with(nil), 0); refusal != nil {
				t.Fatal(refusal)
			}
		}
		_, refusal := s.Create(context.Background(), w.with(nil), 0)
		if refusal == nil || refusal.Code != protocol.RateLimited || refusal.RetryAfter <= 0 || refusal.RetryAfter > time.Second || w.used() != 2 {
			t.Errorf("%+v, %d counted", refusal, w.used())
		}
		if _, refusal := s.Create(context.Background(), w.with(func(n *New) { n.HasToken = true }), 0); refusal != nil {
			t.Errorf("with a token in hand: %+v", refusal)
		}
	})
}

// The request is answered by the device's answer.
func TestCreateWaits(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		s, _ := newTestService(t, w, func(*apps.App) {})
		w.join("a")
		ctx := context.Background()
		for repeated := range 2 { // the second is told of the first's command
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				if repeated == 1 {
					return
				}
				var page Page
				redistest.Eventually(t, 10*time.Second, "a command is there", func() bool {
					page, _ = w.store.List(ctx, "app", channel, "", "", 1)
					return len(page.Commands) == 1
				})
				id := page.Commands[0].ID
				w.claim(id, false, "a")
				w.answer(id, "a", Succeeded, "1")
			}()
			c, refusal := s.Create(ctx, w.with(func(n *New) { n.IdempotencyKey = "k" }), 20*time.Second)
			if refusal != nil || c.Status != Succeeded || string(c.Answers[0].Data) != "1" {
				t.Errorf("%+v %+v", c, refusal)
			}
			<-answered
		}
		if c, err := s.Wait(ctx, w.key, w.store.NewID("app", channel), time.Minute); !errors.Is(err, ErrNotFound) {
			t.Errorf("of no command: %+v %v", c, err)
		}
	})
}

// While Redis is away nothing is invented.
func TestRedisIsAway(t *testing.T) {
	server := redistest.Start(t)
	w := newWorld(t, server.Client())
	s, _ := newTestService(t, w, func(*apps.App) {})
	w.join("a")
	server.Stop()
	c, refusal := s.Create(context.Background(), w.with(nil), time.Second)
	if refusal == nil || refusal.Code != protocol.BackendError || refusal.Outcome == protocol.OutcomeUnknown || refusal.Cause == nil || !strings.Contains(refusal.Message, "nothing was sent") {
		t.Errorf("%+v %+v", c, refusal)
	}
	if err := Explain(errors.New("reset")); !strings.Contains(err.Error(), "backend_error") {
		t.Error(err)
	}
	s.opt.Up = func() bool { return false }
	if _, refusal := s.Create(context.Background(), w.with(nil), time.Second); refusal == nil || refusal.Code != protocol.BackendError {
		t.Errorf("known to be away: %+v", refusal)
	}
}
