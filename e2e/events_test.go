package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// happened is an event of a stream.
type happened struct {
	name  string
	data  string
	event struct {
		At                                                                     int64
		Node, PeerID, Connection, Key, Address, UserAgent, Reason, By, Message string
		Code                                                                   any
		Direction, Frame, Channel, From                                        string
		Truncated                                                              bool
		Dropped                                                                uint64
		Data                                                                   json.RawMessage
	}
}

func (e happened) String() string { return e.name + " " + e.data }

// stream is an open stream of events.
type stream struct {
	t      testing.TB
	events chan happened // closed at its end
	stop   func()
}

// watch opens a stream. It fails the test if the answer is not 200.
func (n *node) watch(t testing.TB, key *keyDoc, query string) *stream {
	t.Helper()
	r, err := http.NewRequest("GET", "http://"+n.addr+"/v1/events?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key.credential())
	return follow(t, r)
}

// follow opens the stream that a request asks for.
func follow(t testing.TB, r *http.Request) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	transport := &http.Transport{}
	a, err := (&http.Client{Transport: transport}).Do(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s, %s", r.URL, a.Status, a.Header.Get("Content-Type"))
	}
	s := &stream{t: t, events: make(chan happened, 10_000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.events)
		lines := bufio.NewScanner(a.Body)
		lines.Buffer(nil, 1<<20)
		var e happened
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "event: "):
				e.name = line[7:]
			case strings.HasPrefix(line, "data: "):
				e.data = line[6:]
			case line == "" && e.name != "":
				_ = json.Unmarshal([]byte(e.data), &e.event)
				s.events <- e
				e = happened{}
			}
		}
	}()
	s.stop = func() {
		cancel()
		_ = a.Body.Close()
		<-ended
		transport.CloseIdleConnections()
	}
	t.Cleanup(s.stop)
	return s
}

// next is the next event.
func (s *stream) next() happened {
	s.t.Helper()
	select {
	case e, ok := <-s.events:
		if !ok {
			s.t.Fatal("the stream has ended")
		}
		return e
	case <-time.After(patience):
		s.t.Fatal("no event comes")
	}
	return happened{}
}

// expect takes the next event, which has to be of a type, and say what is wanted.
func (s *stream) expect(name string, parts ...string) happened {
	s.t.Helper()
	e := s.next()
	for _, part := range parts {
		if e.name != name || !strings.Contains(e.data, part) {
			s.t.Fatalf("got %s, want %s with %q", e, name, parts)
		}
	}
	return e
}

// ends expects the last event, and the stream's end.
func (s *stream) ends(reason string) {
	s.t.Helper()
	for {
		e := s.next()
		if e.name != "end" {
			continue
		}
		if e.event.Reason != reason {
			s.t.Errorf("it ends with %s, want %s", e, reason)
		}
		break
	}
	if e, ok := <-s.events; ok {
		s.t.Errorf("behind the end: %s", e)
	}
}

// What happens on one node is seen on the other, and by the app's keys alone.
func TestEvents(t *testing.T) {
	key := newKey("events", "**", "_system/connectivity/**").only("publish", "subscribe", "presence")
	viewer := newKey("viewerevents", "devices/**").only("presence", "subscribe")
	viewer.Role = "viewer"
	other := newKey("otherevents", "**").only("presence", "subscribe")
	app := newApp("app_events", key, viewer)
	app.GraceMs = 1
	onEachRedis(t, []*appDoc{app, newApp("app_otherevents", other)}, func(t *testing.T, s *system) {
		full, seen, foreign := s.last().watch(t, key, ""), s.last().watch(t, viewer, "types=connect,close,refusal"), s.last().watch(t, other, "")
		d, err := s.first().dial(t, "token="+key.token("cam-1", nil), http.Header{"User-Agent": {"camera/1"}})
		if err != nil {
			t.Fatal(err)
		}
		d.next()
		if e := full.expect("connect", `"peerId":"cam-1"`); e.event.Address != "127.0.0.1" || e.event.UserAgent != "camera/1" || e.event.Node == "" || !strings.HasPrefix(e.event.Connection, e.event.Node+"-") || e.event.At == 0 {
			t.Errorf("%s", e)
		}
		if e := seen.expect("connect", `"peerId":"cam-1"`); e.event.Address+e.event.UserAgent+e.event.Node != "" {
			t.Errorf("a key that does not watch connectivity is shown %s", e)
		}
		d.send(`{"type":"publish","channel":"_system/x","data":1,"requestId":"r"}`)
		d.next()
		full.expect("error", `"peerId":"cam-1"`, `"code":"channel_reserved"`)
		if a, err := s.last().call("DELETE", "/v1/peers/cam-1", key.credential(), ""); err != nil || a.status != 200 {
			t.Fatal(a, err)
		}
		full.expect("close", `"peerId":"cam-1"`, `"code":4020`, `"by":"server"`)
		seen.expect("close", `"peerId":"cam-1"`, `"code":4020`)

		expired := key.token("cam-2", claims{"exp": time.Now().Add(-time.Hour).Unix()})
		if refused, err := s.first().dial(t, "token="+expired, nil); err == nil {
			refused.expectClose(4002)
		}
		full.expect("refusal", `"code":4002`, `"reason":"token expired"`, fmt.Sprintf(`"key":%q`, key.ID))
		seen.expect("refusal", `"code":4002`)

		// HOSTILE: another app saw nothing of all this.
		o := s.first().connect(t, other.token("o", nil))
		foreign.expect("connect", `"peerId":"o"`)
		o.leave()
		if e := foreign.next(); e.name != "close" || e.event.PeerID != "o" {
			t.Errorf("%s", e)
		}
	})
}

// With a peer come its frames both ways, without tokens.
func TestFramesAsTheyPass(t *testing.T) {
	key := newKey("frames", "**").only("publish", "subscribe", "presence")
	narrow := newKey("narrowframes", "devices/**").only("presence", "subscribe")
	onEachRedis(t, []*appDoc{newApp("app_frames", key, narrow)}, func(t *testing.T, s *system) {
		a, err := s.last().call("GET", "/v1/events?peer=cam-1", narrow.credential(), "")
		if err != nil {
			t.Fatal(err)
		}
		a.wantError(t, 403, "channel_not_authorized", "so they need a key that may subscribe to **; for the rest ask for types=connect,refusal,close,error")

		d := s.first().connect(t, key.token("cam-1", nil))
		beside := s.first().connect(t, key.token("cam-2", nil))
		w := s.last().watch(t, key, "peer=cam-1&types=frame")
		beside.send(`{"type":"ping"}`)
		beside.next()
		d.send(`{"type":"subscribe","channel":"a","requestId":"1"}`)
		if e := w.expect("frame", `"direction":"in"`); e.event.Frame != `{"type":"subscribe","channel":"a","requestId":"1"}` || e.event.PeerID != "cam-1" {
			t.Errorf("%s", e)
		}
		d.next()
		if e := w.expect("frame", `"direction":"out"`); e.event.Frame != `{"type":"ack","requestId":"1"}` {
			t.Errorf("%s", e)
		}
		for e := w.next(); !strings.Contains(e.event.Frame, `"type":"presence"`); e = w.next() {
			t.Errorf("between: %s", e)
		}
		token := key.token("cam-1", nil)
		d.send(`{"type":"refresh","token":"` + token + `","requestId":"2"}`)
		if e := w.expect("frame", `"direction":"in"`); e.event.Frame != `{"type":"refresh","token":"[redacted]","requestId":"2"}` {
			t.Errorf("%s", e)
		}
		w.expect("frame", `"direction":"out"`, `expiresAt`)
		// HOSTILE: a frame that is none, with the token in it.
		d.send(`{"type":"refresh","token":"` + token + `",`)
		if e := w.expect("frame", `"direction":"in"`); strings.Contains(e.data, token[:20]) || strings.Contains(e.data, token[len(token)-20:]) {
			t.Errorf("a token is shown: %s", e)
		}
		w.expect("frame", `"direction":"out"`, "malformed_message")
		d.send(`{"type":"publish","channel":"b","data":"` + strings.Repeat("é", 10_000) + `"}`)
		if e := w.expect("frame", `"truncated":true`); len(e.event.Frame) > 4096 || len(e.event.Frame) < 4090 {
			t.Errorf("a frame of %d bytes", len(e.event.Frame))
		}
		if n := s.last().publish(t, key, "a", `{"x":1}`); n != 1 {
			t.Errorf("%d subscribers", n)
		}
		w.expect("frame", `"direction":"out"`, `\"data\":{\"x\":1}`)
	})
}

// A tail of channels counts as no subscriber and no connection.
func TestMessagesAsTheyPass(t *testing.T) {
	key := newKey("tail", "devices/**").only("publish", "subscribe", "presence")
	onEachRedis(t, []*appDoc{newApp("app_tail", key)}, func(t *testing.T, s *system) {
		byPattern := s.last().watch(t, key, "channel="+url.QueryEscape("devices/*/events"))
		byName := s.last().watch(t, key, "channel="+url.QueryEscape("devices/cam-1/events"))
		before := s.last().delivered(t, key)
		if n := s.first().publish(t, key, "devices/cam-1/events", `{ "a" : "b" }`); n != 0 {
			t.Errorf("%d subscribers, want none", n)
		}
		s.first().publish(t, key, "devices/cam-1/other", `1`)
		s.first().publish(t, key, "devices/cam-2/events", `2`)
		for _, w := range []*stream{byPattern, byName} {
			if e := w.expect("message", `"channel":"devices/cam-1/events"`, `"from":"server"`); string(e.event.Data) != `{"a":"b"}` {
				t.Errorf("%s", e)
			}
		}
		byPattern.expect("message", `"channel":"devices/cam-2/events"`, `"data":2`)
		if after := s.last().delivered(t, key); after != before {
			t.Errorf("%d deliveries are counted", after-before)
		}
		a, err := s.last().call("GET", "/v1/events?channel=fleets/x", key.credential(), "")
		if err != nil {
			t.Fatal(err)
		}
		a.wantError(t, 403, "channel_not_authorized", "does not cover all of the pattern")
	})
}

// delivered sums the deliveries of the nodes.
func (n *node) delivered(t testing.TB, key *keyDoc) (all int) {
	t.Helper()
	a, err := n.call("GET", "/v1/nodes", key.credential(), "")
	var page struct {
		Nodes []struct {
			Deliveries, Connections int
			Redis                   struct{ Up bool }
		}
	}
	if err != nil || json.Unmarshal([]byte(a.body), &page) != nil || a.status != 200 || len(page.Nodes) == 0 {
		t.Fatalf("the nodes: %v %v", a, err)
	}
	for _, one := range page.Nodes {
		all += one.Deliveries
		if one.Connections != 0 || !one.Redis.Up {
			t.Errorf("%+v", one)
		}
	}
	return all
}

// A flood is sampled: the reader is told how much is missing.
func TestFloodsAreSampled(t *testing.T) {
	key := newKey("flood", "**")
	app := newApp("app_flood", key)
	app.Limits.FramesPerSec, app.Limits.FramesBurst = 100_000, 100_000
	const flood = 2000
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		w := s.last().watch(t, key, "channel=a")
		d := s.first().connect(t, key.token("p", nil))
		for range flood {
			d.send(`{"type":"publish","channel":"a","data":1}`)
		}
		messages, dropped := 0, 0
		for messages+dropped < flood {
			switch e := w.next(); e.name {
			case "message":
				messages++
			case "sampled":
				dropped += int(e.event.Dropped)
			default:
				t.Fatal(e)
			}
		}
		if dropped == 0 || messages < 100 || messages+dropped != flood {
			t.Errorf("%d messages, and %d dropped", messages, dropped)
		}
	})
}

// A stream ends with its key, and with its node, and a key has so many.
func TestStreamsEnd(t *testing.T) {
	key, other := newKey("ending", "**").only("presence"), newKey("staying", "**").only("presence")
	s := startTwoNodes(t, newApp("app_ending", key, other))
	w, stays := s.last().watch(t, key, ""), s.first().watch(t, other, "")
	s.apps.Replace(directory(t, newApp("app_ending", other)))
	w.ends("key_revoked")
	for range 19 {
		s.first().watch(t, other, "types=close")
	}
	a, err := s.first().call("GET", "/v1/events", other.credential(), "")
	if err != nil {
		t.Fatal(err)
	}
	a.wantError(t, 429, "rate_limited", "has 20 streams of events on this node, the most that it may; end one, or wait")
	if a.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	stays.stop() // its place is free when the node has noticed
	eventually(t, "a place is free", patience, func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+s.first().addr+"/v1/events", nil)
		r.Header.Set("Authorization", "Bearer "+other.credential())
		answer, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.StatusCode == 200
	})
	last := s.last().watch(t, other, "")
	go s.last().stop()
	last.ends("going_away")
}
