package events

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/events"
)

// node tells what it is given, and notes what it was asked.
type node struct {
	stream chan events.Event
	err    error
	asked  *events.Request
	ended  <-chan struct{}
}

func (n *node) Open(ctx context.Context, _ *apps.Key, r events.Request) (<-chan events.Event, error) {
	n.asked, n.ended = &r, ctx.Done()
	return n.stream, n.err
}

func (n *node) types() string {
	if n.asked == nil {
		return "-"
	}
	var all []string
	for _, t := range n.asked.Types {
		all = append(all, string(t))
	}
	return strings.Join(all, ",")
}

func request(method, target, credential string) *http.Request {
	r := apitest.Request(method, target, "")
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	return r
}

// What a request asks for is what the node is asked for, if the key covers it.
func TestRequests(t *testing.T) {
	const narrow, viewer = apitest.NarrowID + ":" + apitest.Narrow, apitest.ViewerID + ":" + apitest.Viewer
	for name, tt := range map[string]struct {
		query, key string
		status     int
		types      string // that the node is asked for; "-": it is not asked
		message    string
	}{
		"all peers":            {"", "", 200, "connect,refusal,close,error", ""},
		"a viewer":             {"", viewer, 200, "connect,refusal,close,error", ""},
		"some types":           {"types=close,connect", "", 200, "close,connect", ""},
		"one peer, some types": {"peer=a&types=close", "", 200, "close", ""},
		"a tail alone":         {"channel=devices/*", "", 200, "", ""},
		"a tail, no presence":  {"channel=a/*", narrow, 200, "", ""},
		"both":                 {"channel=devices/*&types=close", "", 200, "close", ""},
		"frames of all":        {"types=frame", "", 400, "-", "name the peer whose frames you want"},
		"no such type":         {"types=closes", "", 400, "-", `types has \"closes\"; the types are connect, refusal, close, error, frame`},
		"no types":             {"types=", "", 400, "-", "the types are"},
		"a limit":              {"limit=1", "", 400, "-", `there is no parameter \"limit\"; the parameters are peer, types, channel`},
		"an empty peer":        {"peer=", "", 400, "-", "it must be 1 to 128 printable ASCII characters"},
		"frames, a narrow key": {"peer=a", "", 403, "-", "so they need a key that may subscribe to **"},
		"without presence":     {"", narrow, 403, "-", "does not allow presence"},
		"both, no presence":    {"channel=a/*&types=close", narrow, 403, "-", "does not allow presence"},
		"a foreign channel":    {"channel=secret", "", 403, "-", "does not cover all of the pattern"},
		"a wider pattern":      {"channel=**", "", 403, "-", "does not cover all of the pattern"},
		"a reserved channel":   {"channel=_system/connectivity/*", "", 400, "-", "reserved"},
		"no channel":           {"channel=", "", 400, "-", "channel: "},
		"too many wildcards":   {"channel=" + strings.Repeat("*a", 17), "", 400, "-", "channel: "},
	} {
		t.Run(name, func(t *testing.T) {
			config, _ := apitest.Config(t)
			n := &node{stream: make(chan events.Event)}
			close(n.stream)
			w := apitest.Do(New(config, n), request("GET", "/v1/events?"+tt.query, tt.key))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.message) || n.types() != tt.types {
				t.Errorf("%d %s, asked for %s", w.Code, w.Body, n.types())
			}
		})
	}
}

// A key that loses what the stream shows may not go on.
func TestAllowed(t *testing.T) {
	config, _ := apitest.Config(t)
	n := &node{stream: make(chan events.Event)}
	close(n.stream)
	apitest.Do(New(config, n), request("GET", "/v1/events?types=close&channel=devices/*", ""))
	full, _ := config.Apps.Current().Key(apitest.KeyID)
	narrow, _ := config.Apps.Current().Key(apitest.NarrowID)
	if !n.asked.Allowed(full) || n.asked.Allowed(narrow) {
		t.Error("the wrong key is allowed")
	}
}

func TestStreamText(t *testing.T) {
	config, _ := apitest.Config(t)
	n := &node{stream: make(chan events.Event, 3)}
	n.stream <- events.Event{Type: events.Message, At: 5, Channel: "devices/a", From: "server", Data: []byte("{\n \"a\" : \"\\n\"}")}
	n.stream <- events.Event{Type: events.Message, At: 5, Data: []byte("no JSON")}
	n.stream <- events.Event{Type: events.End, At: 6, Reason: "time_limit"}
	close(n.stream)
	w := apitest.Do(New(config, n), request("GET", "/v1/events", ""))
	const want = ": the stream has begun\n\n" +
		"event: message\ndata: {\"at\":5,\"channel\":\"devices/a\",\"from\":\"server\",\"data\":{\"a\":\"\\n\"}}\n\n" +
		"event: message\ndata: {\"at\":5}\n\n" +
		"event: end\ndata: {\"at\":6,\"reason\":\"time_limit\"}\n\n"
	if w.Body.String() != want || w.Header().Get("Content-Type") != "text/event-stream" || w.Header().Get("Cache-Control") != "no-store" || !w.Flushed {
		t.Errorf("%q, %v\nwant %q", w.Body, w.Header(), want)
	}
	<-n.ended
}

func TestHeadOpensNoStream(t *testing.T) {
	config, _ := apitest.Config(t)
	n := &node{}
	if w := apitest.Do(New(config, n), request("HEAD", "/v1/events", "")); w.Code != 200 || n.asked != nil {
		t.Errorf("%d, asked %v", w.Code, n.asked)
	}
}

func TestStreamsThatDoNotBegin(t *testing.T) {
	for err, want := range map[error]int{events.ErrTooMany: 429, events.ErrGoingAway: 503, errors.New("10.0.0.7"): 503} {
		config, _ := apitest.Config(t)
		n := &node{err: err}
		w := apitest.Do(New(config, n), request("GET", "/v1/events", ""))
		if w.Code != want || strings.Contains(w.Body.String(), "10.0.0.7") || (want == 429) != (w.Header().Get("Retry-After") != "") || (err == events.ErrGoingAway) != strings.Contains(w.Body.String(), "this node is going away") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		<-n.ended
	}
}

// A quiet stream says that it is there, and ends when its client is gone.
func TestQuietStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config, _ := apitest.Config(t)
		n := &node{stream: make(chan events.Event)}
		ctx, hangUp := context.WithCancel(t.Context())
		w := httptest.NewRecorder()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			New(config, n).ServeHTTP(w, request("GET", "/v1/events", "").WithContext(ctx))
		}()
		time.Sleep(31 * time.Second)
		hangUp()
		<-ended
		<-n.ended
		if got := strings.Count(w.Body.String(), ": ping\n\n"); got != 2 {
			t.Errorf("%d pings: %q", got, w.Body)
		}
	})
}
