package history_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/history"
	"fleetwire/functions/internal/apitest"
	"fleetwire/functions/publish"
	"fleetwire/pkg/apps"
	store "fleetwire/pkg/history"
	door "fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

const path = "/v1/channels/devices%2Fa%2Flog/messages"

// fake records what is asked of it, and answers as set.
type fake struct {
	read   *store.Read
	forgot string
	err    error
	answer func(*store.Read)
}

func (f *fake) Read(_ context.Context, reads []*store.Read) error {
	if f.read = reads[0]; f.err == nil && f.answer != nil {
		f.answer(f.read)
	}
	return f.err
}

func (f *fake) Forget(_ context.Context, app *apps.App, channel string) error {
	f.forgot = app.ID + " " + channel
	return f.err
}

func ask(t *testing.T, s history.Store, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	config, log := apitest.Config(t)
	w := apitest.Do(history.New(config, s), apitest.Request(method, target, ""))
	if w.Code < 500 && log.String() != "" {
		t.Errorf("logged: %s", log)
	}
	return w
}

func TestQueries(t *testing.T) {
	for _, tt := range []struct {
		query       string
		since       *protocol.Position
		last, limit int
	}{
		{"", nil, 300, 300},
		{"?limit=7", nil, 7, 7},
		{"?last=1", nil, 1, 300},
		{"?last=1000&limit=300", nil, 1000, 300},
		{"?since=6Hq2:0", &protocol.Position{Epoch: "6Hq2"}, 0, 300},
		{"?since=6Hq2%3A9007199254740991&limit=1", &protocol.Position{Epoch: "6Hq2", Offset: protocol.MaxOffset}, 0, 1},
	} {
		f := &fake{}
		if w := ask(t, f, "GET", path+tt.query); w.Code != 200 {
			t.Errorf("%s: %d %s", tt.query, w.Code, w.Body)
			continue
		}
		r := f.read
		if r.App.ID != "app_demo" || r.Channel != "devices/a/log" || r.Last != tt.last || r.Limit != tt.limit || (r.Since == nil) != (tt.since == nil) || r.Since != nil && *r.Since != *tt.since {
			t.Errorf("%s: asked for %+v", tt.query, r)
		}
	}
}

func TestRefusals(t *testing.T) {
	since := func(text string) string {
		return `since is \"` + text + `\"; it must be an epoch and an offset, such as 6Hq2:41, as an answer has them`
	}
	last := func(text string) string {
		return `last is \"` + text + `\"; it must be a whole number of messages from 1 to 1000, in plain digits`
	}
	for _, tt := range []struct {
		method, target string
		status         int
		code, says     string
	}{
		{"GET", path + "?since=6Hq2:1&last=1", 400, "invalid_request", "since and last are both there; a read begins at one of them"},
		{"GET", path + "?since=", 400, "invalid_request", since("")},
		{"GET", path + "?since=6Hq2", 400, "invalid_request", since("6Hq2")},
		{"GET", path + "?since=:1", 400, "invalid_request", since(":1")},
		{"GET", path + "?since=6Hq2:", 400, "invalid_request", since("6Hq2:")},
		{"GET", path + "?since=6Hq2:-1", 400, "invalid_request", since("6Hq2:-1")},
		{"GET", path + "?since=6Hq2:01", 400, "invalid_request", since("6Hq2:01")},
		{"GET", path + "?since=6Hq2:1:2", 400, "invalid_request", since("6Hq2:1:2")},
		{"GET", path + "?since=6Hq2:9007199254740992", 400, "invalid_request", since("6Hq2:9007199254740992")},
		{"GET", path + "?since=6H-q:1", 400, "invalid_request", since("6H-q:1")},
		{"GET", path + "?since=" + strings.Repeat("z", 33) + ":1", 400, "invalid_request", since(strings.Repeat("z", 33) + ":1")},
		{"GET", path + "?last=0", 400, "invalid_request", last("0")},
		{"GET", path + "?last=1001", 400, "invalid_request", last("1001")},
		{"GET", path + "?last=", 400, "invalid_request", last("")},
		{"GET", path + "?last=%2B5", 400, "invalid_request", last("+5")},
		{"GET", path + "?last=1e2", 400, "invalid_request", last("1e2")},
		{"GET", path + "?limit=0", 400, "invalid_request", `limit is \"0\"; it must be a whole number of entries from 1 to 300, in plain digits`},
		{"GET", path + "?limit=301", 400, "invalid_request", `limit is \"301\"; it must be`},
		{"GET", path + "?cursor=1", 400, "invalid_request", `there is no parameter \"cursor\"; the parameters are since, last, limit`},
		{"GET", path + "?last=1&last=1", 400, "invalid_request", "last is there twice; send it once"},
		{"DELETE", path + "?last=1", 400, "invalid_request", `there is no parameter \"last\"; this path takes none`},
		{"GET", "/v1/channels/devices%2Fa/messages", 400, "invalid_request", `channel \"devices/a\" remembers no messages: no pattern in the history of the app's configuration matches it`},
		{"DELETE", "/v1/channels/devices%2Fa/messages", 400, "invalid_request", `channel \"devices/a\" remembers no messages`},
		{"GET", "/v1/channels/devices%2F*%2Flog/messages", 400, "invalid_channel", ""},
		{"GET", "/v1/channels/_system%2Fx/messages", 400, "channel_reserved", ""},
		{"DELETE", "/v1/channels/_system%2Fx/messages", 400, "channel_reserved", ""},
		{"GET", "/v1/channels/public%2Fx/messages", 403, "channel_not_authorized", ""},
		{"DELETE", "/v1/channels/public%2Fx/messages", 403, "channel_not_authorized", ""},
		{"POST", path, 405, "method_not_allowed", "/v1/channels/{channel}/messages takes GET, HEAD, DELETE only"},
		{"GET", "/v1/channels/messages", 404, "not_found", ""},
	} {
		f := &fake{}
		w := ask(t, f, tt.method, tt.target)
		if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), `{"error":"`+tt.code+`","message":"`+tt.says) {
			t.Errorf("%s %s: %d %s, want %d %s %s", tt.method, tt.target, w.Code, w.Body, tt.status, tt.code, tt.says)
		}
		if f.read != nil || f.forgot != "" {
			t.Errorf("%s %s: it went to the store", tt.method, tt.target)
		}
	}
}

// A reader needs subscribe, and forgetting needs publish.
func TestActions(t *testing.T) {
	config, _ := apitest.Config(t)
	h := history.New(config, &fake{})
	for credential, want := range map[string][2]string{
		apitest.NarrowID + ":" + apitest.Narrow: {"channel_not_authorized", "action_not_permitted"}, // subscribe alone
		apitest.IdleID + ":" + apitest.Idle:     {"action_not_permitted", "action_not_permitted"},
		apitest.PausedID + ":" + apitest.Paused: {"account_suspended", "account_suspended"},
		apitest.PublicID:                        {"unauthorized", "unauthorized"},
	} {
		for i, method := range []string{"GET", "DELETE"} {
			r := apitest.Request(method, path, "")
			r.Header.Set("Authorization", "Bearer "+credential)
			if w := apitest.Do(h, r); !strings.HasPrefix(w.Body.String(), `{"error":"`+want[i]+`"`) {
				t.Errorf("%s with %s: %d %s, want %s", method, credential[:8], w.Code, w.Body, want[i])
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	f := &fake{answer: func(r *store.Read) {
		r.Position, r.Recovered, r.More = protocol.Position{Epoch: "6Hq2", Offset: 43}, true, true
		r.Messages = []store.Message{
			{Offset: 41, At: 1767222000123, From: "cam\"1", Data: []byte(`{ "n": 1.0 }`)},
			{Offset: 42, At: 1767222000124, From: "server", Metadata: []byte(`{"a":1}`), Data: []byte(`null`)},
		}
	}}
	const messages = `"messages":[{"offset":41,"at":1767222000123,"from":"cam\"1","data":{ "n": 1.0 }},{"offset":42,"at":1767222000124,"from":"server","data":null}]}`
	apitest.Want(t, ask(t, f, "GET", path), 200, `{"epoch":"6Hq2","offset":43,`+messages)
	apitest.Want(t, ask(t, f, "GET", path+"?since=x:1"), 200, `{"epoch":"6Hq2","offset":43,"recovered":true,`+messages)
	f.answer = func(r *store.Read) { r.Position.Epoch = "z" }
	apitest.Want(t, ask(t, f, "GET", path+"?since=x:1"), 200, `{"epoch":"z","offset":0,"recovered":false,"messages":[]}`)
	apitest.Want(t, ask(t, f, "DELETE", path), 200, `{"channel":"devices/a/log"}`)
	if f.forgot != "app_demo devices/a/log" {
		t.Errorf("forgot %s", f.forgot)
	}
	f.err = errors.New("no Redis")
	apitest.Want(t, ask(t, f, "GET", path), 503, `{"error":"backend_error","message":"Redis did not say what the channel remembers; try again","outcome":"none"}`)
	apitest.Want(t, ask(t, f, "DELETE", path), 503, `{"error":"backend_error","message":"Redis did not answer; whether the messages are forgotten is not known; try again, which does no harm","outcome":"unknown"}`)
}

func TestNewNeedsAStore(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New did not panic")
		}
	}()
	config, _ := apitest.Config(t)
	history.New(config, nil)
}

type page struct {
	Epoch     string
	Offset    int
	Recovered *bool
	Messages  []struct {
		Offset int
		At     int64
		From   string
		Data   json.RawMessage
	}
}

// numbers are the messages' data, which must be their offsets.
func (p page) numbers(t *testing.T) (first, last int) {
	t.Helper()
	for i, m := range p.Messages {
		if m.Offset != p.Messages[0].Offset+i || string(m.Data) != fmt.Sprint(m.Offset) || m.From != "a" || time.Since(time.UnixMilli(m.At)).Abs() > time.Hour {
			t.Errorf("message %+v at %d", m, i)
		}
	}
	if len(p.Messages) > 0 {
		first, last = p.Messages[0].Offset, p.Messages[len(p.Messages)-1].Offset
	}
	return first, last
}

// Messages that were published over REST are read page by page, and forgotten. Offsets go on.
func TestOnRedis(t *testing.T) {
	rdb := redistest.Start(t).Client()
	config, _ := apitest.Config(t)
	log := slog.New(slog.DiscardHandler)
	writes := publish.New(config, door.New(door.Options{Redis: rdb, Health: redisconn.NewHealth(log), Log: log, Now: time.Now}))
	reads := history.New(config, store.NewStore(rdb, rediskeys.Namespace{}))
	send := func(from, to int) {
		t.Helper()
		for ; from < to; from += 20 {
			var messages []string
			for n := from; n < from+20; n++ {
				messages = append(messages, fmt.Sprintf(`{"channel":"devices/a/log","data":%d,"from":"a"}`, n))
			}
			w := apitest.Do(writes, apitest.Request("POST", "/v1/publish", `{"messages":[`+strings.Join(messages, ",")+`]}`))
			if strings.Count(w.Body.String(), `"epoch":"`) != 20 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
	}
	get := func(query string) (p page) {
		t.Helper()
		w := apitest.Do(reads, apitest.Request("GET", path+query, ""))
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		return p
	}
	wantPage := func(query string, first, last int, recovered string) page {
		t.Helper()
		p := get(query)
		f, l := p.numbers(t)
		shown := "absent"
		if p.Recovered != nil {
			shown = fmt.Sprint(*p.Recovered)
		}
		if f != first || l != last || shown != recovered {
			t.Errorf("%s: messages %d to %d, recovered %s; want %d to %d, %s", query, f, l, shown, first, last, recovered)
		}
		return p
	}
	empty := wantPage("", 0, 0, "absent")
	if !protocol.ValidEpoch(empty.Epoch) || empty.Offset != 0 {
		t.Fatalf("before anything was published: %+v", empty)
	}
	since := func(offset int) string { return fmt.Sprintf("?since=%s:%d", empty.Epoch, offset) }
	wantPage(since(0), 0, 0, "true")
	send(1, 41)
	if p := wantPage("", 1, 40, "absent"); p.Epoch != empty.Epoch || p.Offset != 40 {
		t.Errorf("another position than that of a reader who came first: %+v", p)
	}
	wantPage("?last=3", 38, 40, "absent")
	wantPage("?last=10&limit=4", 31, 34, "absent")
	wantPage("?limit=4", 37, 40, "absent")
	wantPage(since(0)+"&limit=30", 1, 30, "true")
	wantPage(since(30)+"&limit=30", 31, 40, "true")
	wantPage(since(40), 0, 0, "true")
	wantPage(since(41), 1, 40, "false") // beyond the newest
	wantPage("?since=other:40", 1, 40, "false")
	apitest.Want(t, apitest.Do(reads, apitest.Request("DELETE", path, "")), 200, `{"channel":"devices/a/log"}`)
	if p := wantPage("?last=10", 0, 0, "absent"); p.Offset != 40 || p.Epoch != empty.Epoch {
		t.Errorf("after DELETE: %+v", p)
	}
	wantPage(since(30), 0, 0, "false")
	wantPage(since(40), 0, 0, "true")
	send(41, 61)
	wantPage(since(40), 41, 60, "true")
	wantPage(since(39), 41, 60, "false")
}
