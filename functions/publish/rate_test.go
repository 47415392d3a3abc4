package publish

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

const overItsRate = `{"error":"rate_limited","message":"key sk_live_full is over 7 requests per second (burst 9); wait as long as Retry-After says"}`

// wrongRequests are refused for all that a handler looks at, and what they are
// told when they are within their rate.
var wrongRequests = []struct {
	name   string
	door   *protocol.Error
	change func(*http.Request)
	body   string
	status int
	code   string
}{
	{"no JSON", nil, nil, `{`, 400, "invalid_request"},
	{"no data", nil, nil, `{}`, 400, "missing_data"},
	{"no peer id", nil, nil, `{"data":1,"from":""}`, 400, "invalid_peer_id"},
	{"another type", nil, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, `{"data":1}`, 415, "invalid_request"},
	{"too large", nil, nil, `{"data":"` + strings.Repeat("x", 32<<10) + `"}`, 413, "invalid_request"},
	{"the door's no", protocol.Errorf(protocol.ChannelNotAuthorized, "no"), nil, `{"data":1}`, 403, "channel_not_authorized"},
}

// TestWrongRequestsTakeATokenToo: the rate comes before all that is wrong with a
// request (package api), which is asked for by itself then, and once.
func TestWrongRequestsTakeATokenToo(t *testing.T) {
	for _, tt := range wrongRequests {
		t.Run(tt.name, func(t *testing.T) {
			d := &door{refuse: tt.door}
			ask := func(limiter apitest.Limiter) *httptest.ResponseRecorder {
				config, _ := apitest.Config(t)
				config.Limiter = &limiter
				r := apitest.Request("POST", path, tt.body)
				if tt.change != nil {
					tt.change(r)
				}
				w := apitest.Do(New(config, d), r)
				if got := limiter.Asked[apitest.KeyID]; got != 1 {
					t.Errorf("%d tokens were asked for, want 1", got)
				}
				return w
			}
			if w := ask(apitest.Limiter{}); w.Code != tt.status || !strings.HasPrefix(w.Body.String(), `{"error":"`+tt.code+`"`) {
				t.Errorf("within its rate: %d %s, want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
			w := ask(apitest.Limiter{Refuse: true, Wait: 1001 * time.Millisecond})
			apitest.Want(t, w, 429, overItsRate)
			if got := w.Header(); got.Get("Retry-After") != "2" || got.Get("Accept") != "" {
				t.Errorf("over its rate: headers %v, want Retry-After: 2 and no Accept", got)
			}
			w = ask(apitest.Limiter{Err: errors.New("no Redis")})
			apitest.Want(t, w, 503, `{"error":"backend_error","message":"the rate limit could not be checked, so nothing was done; try again","outcome":"none"}`)
			if len(d.got) != 0 {
				t.Errorf("published %v", d.got)
			}
		})
	}
}

// TestGoodRequestsTakeTheirTokenWithTheMessage and are answered as if it had been
// taken before.
func TestGoodRequestsTakeTheirTokenWithTheMessage(t *testing.T) {
	limiter := new(apitest.Limiter)
	config, _ := apitest.Config(t)
	config.Limiter = limiter
	now := apitest.Now
	config.Now = func() time.Time { return now }
	d := new(door)
	h := New(config, d)
	send := func(credential string) (*httptest.ResponseRecorder, publish.Message) {
		t.Helper()
		d.got = nil
		r := apitest.Request("POST", path, `{"data":1}`)
		r.Header.Set("Authorization", "Bearer "+credential)
		w := apitest.Do(h, r)
		if len(d.got) > 1 {
			t.Fatalf("published %d messages", len(d.got))
		}
		if len(d.got) == 0 {
			return w, publish.Message{}
		}
		return w, d.got[0]
	}
	const full, narrow = apitest.KeyID + ":" + apitest.Secret, apitest.NarrowID + ":" + apitest.Narrow
	sameTime := func(credential string) {
		t.Helper()
		if w, m := send(credential); w.Code != 200 || !m.TakeToken || len(limiter.Asked) != 0 {
			t.Errorf("%d, asked for with the message: %v, by itself: %v", w.Code, m.TakeToken, limiter.Asked)
		}
	}
	sameTime(full)

	d.result = publish.Result{Err: protocol.Errorf(protocol.RateLimited, "no"), RetryAfter: 1001 * time.Millisecond}
	w, _ := send(full)
	apitest.Want(t, w, 429, overItsRate)
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After: %q, want 2", got)
	}

	// A key that was over its rate asks ahead for a while, so that what it sends
	// beyond it does not go to Redis. Another key does not.
	d.result = publish.Result{}
	now = now.Add(time.Second - 1)
	limiter.Refuse, limiter.Wait = true, 1
	if w, m := send(full); w.Code != 429 || w.Body.String() != overItsRate || m.Channel != "" || limiter.Asked[apitest.KeyID] != 1 {
		t.Errorf("%d %s, sent on: %q, asked for: %v", w.Code, w.Body, m.Channel, limiter.Asked)
	}
	limiter.Refuse = false
	if w, m := send(full); w.Code != 200 || m.Channel == "" || m.TakeToken || limiter.Asked[apitest.KeyID] != 2 {
		t.Errorf("%d %s, sent on: %q, with a second token: %v, asked for: %v", w.Code, w.Body, m.Channel, m.TakeToken, limiter.Asked)
	}
	clear(limiter.Asked)
	sameTime(narrow)
	now = now.Add(1)
	sameTime(full)
}

// TestOneBucketOnRedis: good and wrong requests of a key take from one bucket;
// one over it is told so, whatever else is wrong with it, and counts no message.
func TestOneBucketOnRedis(t *testing.T) {
	for _, kind := range []struct {
		name  string
		start func(*testing.T) *redis.Client
	}{
		{"redis", func(t *testing.T) *redis.Client { return redistest.Start(t).Client() }},
		{"miniredis", func(t *testing.T) *redis.Client {
			m, _ := redistest.Embedded(t)
			m.SetTime(apitest.Now) // which stands
			return redistest.Client(t, "redis://"+m.Addr())
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			rdb := kind.start(t)
			config, _ := apitest.Config(t)
			config.Limiter = quota.NewRateLimiter(rdb, rediskeys.Namespace{})
			config.Now = time.Now
			h := New(config, service(rdb))
			var statuses []string
			for i := range 20 {
				body := `{"data":1}`
				if i%3 == 1 {
					body = `{}`
				}
				w := apitest.Do(h, apitest.Request("POST", path, body))
				switch {
				case w.Code == 429 && (w.Body.String() != overItsRate || w.Header().Get("Retry-After") != "1"):
					t.Errorf("429 %s with %v", w.Body, w.Header())
				case w.Code != 429 && (w.Code == 400) != (i%3 == 1):
					t.Errorf("%s: %d %s", body, w.Code, w.Body)
				}
				statuses = append(statuses, strconv.Itoa(w.Code))
			}
			got := strings.Join(statuses, " ")
			if kind.name == "miniredis" {
				if want := "200 400 200 200 400 200 200 400 200" + strings.Repeat(" 429", 11); got != want {
					t.Errorf("answered %s\nwant %s", got, want)
				}
			} else if !strings.HasPrefix(got, "200 400 200 200 400 200 200 400 200 ") || !strings.Contains(got, "429") {
				t.Errorf("answered %s, want the 9 of the burst and some 429", got)
			}
			used, err := rdb.Get(context.Background(), quota.Messages(rediskeys.Namespace{}, config.Apps.Current().Apps()[0], time.Now()).Key).Int()
			if want := strings.Count(got, "200"); err != nil || used != want {
				t.Errorf("%d messages are counted (%v), want %d", used, err, want)
			}
		})
	}
}

// service is the door on a Redis.
func service(rdb *redis.Client) *publish.Service {
	log := slog.New(slog.DiscardHandler)
	return publish.New(publish.Options{Redis: rdb, Health: redisconn.NewHealth(log), Log: log, Now: time.Now})
}
