package lambda

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/functions/internal/apitest"
	"fleetwire/functions/publish"
	"fleetwire/pkg/redisconn/redistest"
)

// trips counts the round trips of a client.
type trips struct{ n atomic.Int64 }

func (*trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "hello" { // of a new connection
			c.n.Add(1)
		}
		return next(ctx, cmds)
	}
}

// TestPublishesInOneRoundTrip: the rate, the quota and the publishing are one. Two
// more write the usage figures, of the channel and of the peer.
func TestPublishesInOneRoundTrip(t *testing.T) {
	server := redistest.Start(t)
	doc := strings.Replace(document("sk_a"), `"keys"`, `"limits":{"restPerSec":1,"restBurst":4},"keys"`, 1)
	log := new(apitest.Log)
	f := newFunction(settings{apps: doc, redis: server.URL()},
		func(s Services) http.Handler { return publish.New(s.API, s.Publisher) }, slog.New(slog.NewTextHandler(log, nil)))
	f.start()
	t.Cleanup(func() { _ = f.rdb.Close() })
	counted := new(trips)
	f.rdb.AddHook(counted)
	began := time.Now()
	tokens := 0
	try := func(body string, status int, most int64) int {
		t.Helper()
		r := apitest.Request("POST", "/v1/channels/a/publish", body)
		r.Header.Set("Authorization", "Bearer sk_a:"+apitest.Secret)
		before := counted.n.Load()
		w := apitest.Do(f, r)
		got := counted.n.Load() - before
		if w.Code == http.StatusTooManyRequests {
			if most = 1; w.Header().Get("Retry-After") != "1" {
				t.Errorf("Retry-After: %q, want 1", w.Header().Get("Retry-After"))
			}
		} else if tokens++; w.Code != status {
			t.Errorf("%d %s, want %d\n%s", w.Code, w.Body, status, log)
		}
		if got > most {
			t.Errorf("%d after %d round trips, want at most %d", w.Code, got, most)
		}
		return w.Code
	}
	send := func(body string, status int, most int64) {
		t.Helper()
		if try(body, status, most) == http.StatusTooManyRequests {
			t.Errorf("%s is over the rate after %d requests", body, tokens)
		}
	}
	// refused goes on until a request is refused: on a slow machine tokens have come back.
	refused := func(body string, otherwise int, most int64) {
		t.Helper()
		for try(body, otherwise, most) != http.StatusTooManyRequests {
			if most := 4 + 1 + int(time.Since(began)/time.Second); tokens > most {
				t.Fatalf("%d requests are let through in %v", tokens, time.Since(began))
			}
		}
	}
	send(`{"data":1}`, 200, 6) // Redis is asked for its clock, and sent both scripts
	send(`{}`, 400, 2)         // and a third
	send(`{"data":1}`, 200, 3)
	send(`{"data":1}`, 200, 3)
	refused(`{"data":1}`, 200, 3)
	refused(`{}`, 400, 2)
}
