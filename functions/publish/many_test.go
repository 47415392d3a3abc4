package publish

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

const manyPath = "/v1/publish"

// messagesOf is a body with these messages.
func messagesOf(messages ...string) string {
	return `{"messages":[` + strings.Join(messages, ",") + `]}`
}

// Each message is checked, and answered, as it would be alone.
func TestEachMessageForItself(t *testing.T) {
	alone := strings.Repeat("x", protocol.MaxBodyBytes-len(`{"channel":"devices/a","data":""}`))
	tests := []struct{ message, result string }{
		{`{"channel":"devices/a","data":{ "n" : 1.0 },"from":"f","peerMetadata":{ "a":1 }}`, `{"channel":"devices/a","subscribers":7}`},
		{`{"channel":"devices/\u0061","data":null}`, `{"channel":"devices/a","subscribers":7}`},
		{`{"channel":"devices/a","data":"` + alone + `"}`, `{"channel":"devices/a","subscribers":7}`},
		{`{"channel":"devices/a","data":"` + alone + `x"}`, `{"error":"invalid_request","message":"the message is 32769 bytes long; at most 32768 are allowed"}`},
		{`7`, `{"error":"invalid_request","message":"the message is a number; it must be an object with the fields channel, data, from, peerMetadata, idempotencyKey, ifOffset, ifEpoch"}`},
		{`[]`, `{"error":"invalid_request","message":"the message is an array; it must be an object with the fields channel, data, from, peerMetadata, idempotencyKey, ifOffset, ifEpoch"}`},
		{`{}`, `{"error":"missing_data","message":"data is missing; it may be any JSON value, null included"}`},
		{`{"data":1}`, `{"error":"invalid_channel","message":"channel is missing; it must be the name of a channel"}`},
		{`{"channel":1,"data":1}`, `{"error":"invalid_request","message":"channel is a number; it must be a string"}`},
		{`{"channel":"a\ud800","data":1}`, `{"error":"invalid_channel","message":"channel has half a character in it `},
		{`{"channel":"a","data":1,"Data":1}`, `{"error":"invalid_request","message":"there is no field \"Data\"; the fields are channel, data, from, peerMetadata, idempotencyKey, ifOffset, ifEpoch"}`},
		{`{"channel":"a","data":1,"channel":"b"}`, `{"error":"invalid_request","message":"channel is there twice; send it once"}`},
		{`{"channel":"a","data":1,"from":"ü"}`, `{"error":"invalid_peer_id","message":"from \"ü\" will not do; `},
		{`{"channel":"a","data":1,"peerMetadata":1}`, `{"error":"invalid_request","message":"peerMetadata must be a JSON object, got a number"}`},
	}
	for _, tt := range tests {
		d := &door{result: publish.Result{Subscribers: 7}}
		// Between two others, which it leaves alone.
		w := post(t, d, manyPath, messagesOf(`{"channel":"devices/1","data":1}`, tt.message, `{"channel":"devices/2","data":2}`))
		first, last := `{"results":[{"channel":"devices/1","subscribers":7},`+tt.result, `,{"channel":"devices/2","subscribers":7}]}`
		if body := w.Body.String(); w.Code != 200 || !strings.HasPrefix(body, first) || !strings.HasSuffix(body, last) {
			t.Errorf("%.80s: %d %s, want %s…%s", tt.message, w.Code, body, first, last)
		}
		if published := len(d.got) == 3; published == strings.Contains(tt.result, "error") {
			t.Errorf("%.80s: %d messages went to the door", tt.message, len(d.got))
		}
	}
	d := &door{}
	post(t, d, manyPath, messagesOf(tests[0].message))
	if m := d.got[0]; m.Channel != "devices/a" || m.From != "f" || string(m.FromMetadata) != `{"a":1}` || string(m.Data) != `{ "n" : 1.0 }` || !m.CountSubscribers || m.TakeToken {
		t.Errorf("published %+v", m)
	}
}

func TestRefusedBodiesOfMany(t *testing.T) {
	many := func(n int) string {
		return messagesOf(slices.Repeat([]string{`{"channel":"devices/a","data":1}`}, n)...)
	}
	if w := post(t, &door{}, manyPath, many(100)); w.Code != 200 || strings.Count(w.Body.String(), `"subscribers":0`) != 100 {
		t.Errorf("100 messages: %d %s", w.Code, w.Body)
	}
	for _, tt := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"no body", ``, 400, "the body must be a JSON object with the fields messages: "},
		{"no messages", `{}`, 400, `messages is missing; it must be an array of 1 to 100 messages`},
		{"no array", `{"messages":{}}`, 400, `messages is an object; it must be an array of 1 to 100 messages`},
		{"null", `{"messages":null}`, 400, `messages is null; it must be an array of 1 to 100 messages`},
		{"an empty array", many(0), 400, `messages has 0 entries; it must be an array of 1 to 100 messages`},
		{"101 messages", many(101), 400, `messages has 101 entries; it must be an array of 1 to 100 messages`},
		{"a field of one message", `{"messages":[1],"data":1}`, 400, `there is no field \"data\"; the fields are messages`},
		{"twice", `{"messages":[1],"messages":[1]}`, 400, `messages is there twice; send it once`},
		{"a broken message", messagesOf(`{"channel":"devices/a","data":1}`, `{"data":}`), 400, `the body must be a JSON object with the fields messages: broken JSON at byte `},
		{"too large", messagesOf(`"` + strings.Repeat("x", protocol.MaxPublishBodyBytes) + `"`), 413, "the body is larger than 262144 bytes, the most that is taken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &door{}
			w := post(t, d, manyPath, tt.body)
			if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), `{"error":"invalid_request","message":"`+tt.says) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.says)
			}
			if len(d.got) != 0 {
				t.Errorf("published %v", d.got)
			}
		})
	}
}

// The door refuses and answers each message for itself, whatever the order in which its
// answers come.
func TestWhatTheDoorAnswersToMany(t *testing.T) {
	config, _ := apitest.Config(t)
	d := &slowDoor{}
	r := apitest.Request("POST", manyPath, messagesOf(`{"channel":"devices/1","data":1}`, `{"channel":"public/2","data":1}`, `{"channel":"devices/3","data":1}`))
	d.answer = func() {
		d.done[1].Published(publish.Result{Subscribers: 3})
		d.done[0].Published(publish.Result{Err: protocol.Errorf(protocol.OverMessageQuota, "used up"), RetryAfter: time.Hour})
	}
	w := apitest.Do(New(config, d), r)
	apitest.Want(t, w, 200, `{"results":[{"error":"over_message_quota","message":"used up"},{"error":"channel_not_authorized","message":"the key's patterns do not cover the channel"},{"channel":"devices/3","subscribers":3}]}`)

	// If the caller goes, the answer says which outcomes are not known.
	ctx, cancel := context.WithCancel(context.Background())
	d.done, d.answer = nil, func() {
		d.done[1].Published(publish.Result{Subscribers: 3})
		cancel()
	}
	r = apitest.Request("POST", manyPath, messagesOf(`{"channel":"devices/1","data":1}`, `{"channel":"devices/2","data":1}`)).WithContext(ctx)
	w = apitest.Do(New(config, d), r)
	if !strings.HasPrefix(w.Body.String(), `{"results":[{"error":"backend_error","message":"the request ended before Redis answered; `) || !strings.Contains(w.Body.String(), `"outcome":"unknown"}`) {
		t.Errorf("%s", w.Body)
	}
	d.done[0].Published(publish.Result{}) // late, and it must not block
}

// slowDoor answers once it has two messages.
type slowDoor struct {
	door
	done   []publish.Completion
	answer func()
}

func (d *slowDoor) Submit(m publish.Message, done publish.Completion) *protocol.Error {
	if refused := m.Grant.Check(apps.ActionPublish, m.Channel); refused != nil {
		return protocol.Errorf(refused.Code, "the key's patterns do not cover the channel")
	}
	if d.done = append(d.done, done); len(d.done) == 2 {
		d.answer()
	}
	return nil
}

// The request takes one token, ahead, and without it publishes nothing.
func TestManyTakeOneToken(t *testing.T) {
	ask := func(limiter *apitest.Limiter) (*httptest.ResponseRecorder, *door) {
		config, _ := apitest.Config(t)
		config.Limiter = limiter
		d := &door{}
		w := apitest.Do(New(config, d), apitest.Request("POST", manyPath, messagesOf(`{"channel":"devices/a","data":1}`, `{"channel":"devices/a","data":2}`)))
		if limiter.Asked[apitest.KeyID] != 1 {
			t.Errorf("%d tokens were asked for, want 1", limiter.Asked[apitest.KeyID])
		}
		return w, d
	}
	if w, d := ask(&apitest.Limiter{}); w.Code != 200 || len(d.got) != 2 {
		t.Errorf("%d %s, published %d", w.Code, w.Body, len(d.got))
	}
	w, d := ask(&apitest.Limiter{Refuse: true, Wait: time.Second})
	apitest.Want(t, w, 429, overItsRate)
	if w.Header().Get("Retry-After") != "1" || len(d.got) != 0 {
		t.Errorf("Retry-After %q, published %v", w.Header().Get("Retry-After"), d.got)
	}
}

// On Redis each message counts, up to the cap, and all of them share a few round trips.
func TestManyOnRedis(t *testing.T) {
	rdb := redistest.Start(t).Client()
	counted := &countingDoor{Service: service(rdb), all: make(chan struct{})}
	trips := &counter{door: counted}
	rdb.AddHook(trips)
	config, _ := apitest.Config(t)
	config.Limiter = quota.NewRateLimiter(rdb, rediskeys.Namespace{})
	h := New(config, counted)
	messages := make([]string, 100) // the app's plan has 100
	for i := range messages {
		messages[i] = fmt.Sprintf(`{"channel":"devices/%d","data":%d}`, i, i)
	}
	one := apitest.Do(h, apitest.Request("POST", path, `{"data":1}`)) // loads the scripts
	if one.Code != 200 {
		t.Fatalf("%d %s", one.Code, one.Body)
	}
	trips.n.Store(0)
	w := apitest.Do(h, apitest.Request("POST", manyPath, messagesOf(messages...)))
	if w.Code != 200 || strings.Count(w.Body.String(), `"subscribers":0`) != 99 || !strings.Contains(w.Body.String(), `{"error":"over_message_quota"`) {
		t.Errorf("%d %s, want 99 published and one over the cap", w.Code, w.Body)
	}
	if n := trips.n.Load(); n > 8 { // the token and its script, the first messages, the others, and what Redis is asked besides
		t.Errorf("100 messages took %d round trips", n)
	}
	used, err := rdb.Get(context.Background(), quota.Messages(rediskeys.Namespace{}, config.Apps.Current().Apps()[0], time.Now()).Key).Int()
	if err != nil || used != 101 {
		t.Errorf("%d attempts are counted (%v), want 101", used, err)
	}
}

// countingDoor knows when a hundred messages have been submitted.
type countingDoor struct {
	*publish.Service
	submitted atomic.Int64
	all       chan struct{} // closed then
}

func (d *countingDoor) Submit(m publish.Message, done publish.Completion) *protocol.Error {
	refused := d.Service.Submit(m, done)
	if d.submitted.Add(1) == 100 {
		close(d.all)
	}
	return refused
}

// counter counts round trips. Once a message has been submitted, they wait for all others.
type counter struct {
	n    atomic.Int64
	door *countingDoor
}

func (c *counter) count() {
	c.n.Add(1)
	if c.door.submitted.Load() > 0 {
		<-c.door.all
	}
}

func (*counter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count()
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.count()
		return next(ctx, cmds)
	}
}

func TestManyIsGuarded(t *testing.T) {
	d := &door{}
	config, _ := apitest.Config(t)
	h := New(config, d)
	for status, change := range map[int]func(*http.Request){
		401: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apitest.PublicID) },
		403: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apitest.PausedID+":"+apitest.Paused) },
		405: func(r *http.Request) { r.Method = "GET" },
		415: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
	} {
		r := apitest.Request("POST", manyPath, messagesOf(`{"channel":"devices/a","data":1}`))
		change(r)
		if w := apitest.Do(h, r); w.Code != status {
			t.Errorf("%d %s, want %d", w.Code, w.Body, status)
		}
	}
	if len(d.got) != 0 {
		t.Errorf("published %v", d.got)
	}
}
