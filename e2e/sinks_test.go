package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
)

// sinkSecret is for webhooks: whsec_ and the base64 of secretMark and more.
var sinkSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(secretMark+"-0123456789abcdef-of-a-webhook"))

// startWithSinks starts two nodes whose webhooks may reach this machine.
func startWithSinks(t *testing.T, docs ...*appDoc) *system {
	t.Helper()
	s := newSystem(t, docs...)
	s.redis = redistest.Start(t)
	s.client = func() redis.UniversalClient { return s.redis.Client() }
	for range 2 {
		s.start(s.redis.URL(), options{sinkNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	}
	return s
}

// event is a message as a webhook gets it.
type event struct {
	ID, Channel, From string
	Data              json.RawMessage
	PublishedAt       int64
	Attempt           int
}

// endpoint is a receiver of webhooks.
type endpoint struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	answer func(body string) int
	events []event // of requests that were answered with 2xx
}

// receive starts an endpoint that takes everything.
func receive(t *testing.T) *endpoint {
	e := &endpoint{t: t}
	e.answers(http.StatusNoContent)
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) answers(status int) { e.judge(func(string) int { return status }) }

func (e *endpoint) judge(f func(body string) int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = f
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the node has gone
	}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(sinkSecret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want {
		e.t.Errorf("the signature is %s, want %s", r.Header.Get("webhook-signature"), want)
	}
	var events []event
	if err := json.Unmarshal(body, &events); err != nil || len(events) == 0 {
		e.t.Errorf("got %s: %v", body, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	status := e.answer(string(body))
	if status/100 == 2 {
		e.events = append(e.events, events...)
	}
	w.WriteHeader(status)
}

// got waits for some events, in all.
func (e *endpoint) got(n int) []event {
	e.t.Helper()
	var all []event
	eventually(e.t, fmt.Sprint(n, " events"), patience, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		all = append([]event(nil), e.events...)
		return len(all) >= n
	})
	return all
}

// webhook is an app with the group crm and a webhook for it.
func webhook(url string, maxDeliver int, key *keyDoc) *appDoc {
	app := newApp("app_sinks", key)
	app.Groups = []groupDoc{{Name: "crm", Patterns: []string{"devices/*/events"}, MaxBytes: 1 << 20, MaxDeliver: maxDeliver,
		Sink: map[string]any{"type": "webhook", "url": url, "secrets": []string{sinkSecret}}}}
	return app
}

// sinkState is what REST tells of a group with a sink.
type sinkState struct {
	Lag, Pending, Dead int
	Sink               struct{ Type, State, LastError string }
}

func (n *node) sinkState(t *testing.T, key *keyDoc) (s sinkState) {
	t.Helper()
	a, err := n.call("GET", "/v1/groups/crm", key.credential(), "")
	if err != nil || a.status != 200 || json.Unmarshal([]byte(a.body), &s) != nil || s.Sink.Type != "webhook" {
		t.Fatalf("%d %s (%v)", a.status, a.body, err)
	}
	return s
}

func (n *node) awaitSink(t *testing.T, key *keyDoc, what string, is func(sinkState) bool) (s sinkState) {
	t.Helper()
	eventually(t, what, patience, func() bool { s = n.sinkState(t, key); return is(s) })
	return s
}

func (n *node) resume(t *testing.T, key *keyDoc) {
	t.Helper()
	a, err := n.call("POST", "/v1/groups/crm/resume", key.credential(), "{}")
	if err != nil || a.status != 200 {
		t.Fatalf("resume: %d %s (%v)", a.status, a.body, err)
	}
}

// inOrder wants 0, 1, 2… on each channel of the events. Events may repeat.
func inOrder(t *testing.T, events []event, channels map[string]int) {
	t.Helper()
	next, ids := map[string]int{}, map[string]bool{}
	for _, e := range events {
		if ids[e.ID] {
			continue
		}
		ids[e.ID] = true
		if want := fmt.Sprint(next[e.Channel]); string(e.Data) != want {
			t.Fatalf("%s: got %s, want %s", e.Channel, e.Data, want)
		}
		next[e.Channel]++
	}
	if fmt.Sprint(next) != fmt.Sprint(channels) {
		t.Errorf("got %v, want %v", next, channels)
	}
}

// Messages from sockets and REST, on any node, reach a webhook, signed and in the order of each channel,
// also after one of the nodes has gone.
func TestWebhook(t *testing.T) {
	const each = 60
	key, target := newKey("sinks", "**"), receive(t)
	s := startWithSinks(t, webhook(target.URL, 0, key))
	device := s.last().connect(t, key.token("cam", nil))
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			device.publish("devices/1/events", fmt.Sprint(i))
			s.last().publish(t, key, "devices/2/events", fmt.Sprint(i))
		}
	}
	publish(0, each)
	first := target.got(2 * each)
	inOrder(t, first, map[string]int{"devices/1/events": each, "devices/2/events": each})
	for _, e := range first {
		if want := map[string]string{"devices/1/events": "cam", "devices/2/events": "server"}[e.Channel]; e.From != want || e.Attempt != 1 || e.PublishedAt == 0 {
			t.Errorf("got %+v", e)
		}
	}
	a, err := s.first().call("POST", "/v1/groups/crm/pull", key.credential(), `{}`)
	if err != nil {
		t.Fatal(err)
	}
	a.wantError(t, 400, "invalid_request", "crm", "sink")
	device.expectError(device.request(`"type":"subscribe","group":"crm"`), "malformed_message", "crm", "sink")

	go s.first().stop()
	publish(each, 2*each)
	inOrder(t, target.got(4*each), map[string]int{"devices/1/events": 2 * each, "devices/2/events": 2 * each})
	s.last().awaitSink(t, key, "nothing waits", func(s sinkState) bool { return s.Lag == 0 && s.Pending == 0 && s.Sink.State == "ok" })
}

// An endpoint that is down loses nothing and counts nothing; one that is gone stops the sink until it
// is resumed.
func TestWebhookDownAndGone(t *testing.T) {
	key, target := newKey("sinks", "**"), receive(t)
	s := startWithSinks(t, webhook(target.URL, 2, key))
	publish := func(n int) { s.first().publish(t, key, "devices/1/events", fmt.Sprint(n)) }
	target.answers(http.StatusServiceUnavailable)
	publish(0)
	publish(1)
	state := s.last().awaitSink(t, key, "the sink fails", func(s sinkState) bool { return s.Sink.State == "failing" })
	if state.Sink.LastError != "the endpoint answered 503 Service Unavailable" {
		t.Error(state.Sink.LastError)
	}
	target.answers(http.StatusOK)
	s.last().resume(t, key)
	inOrder(t, target.got(2), map[string]int{"devices/1/events": 2})

	target.answers(http.StatusGone)
	publish(2)
	s.last().awaitSink(t, key, "the sink stops", func(s sinkState) bool { return s.Sink.State == "stopped" && s.Lag+s.Pending == 1 })
	target.answers(http.StatusOK)
	publish(3)
	s.first().resume(t, key)
	events := target.got(4)
	inOrder(t, events, map[string]int{"devices/1/events": 4})
	for _, e := range events {
		if e.Attempt != 1 {
			t.Errorf("a delivery that the endpoint was not there for counts: %+v", e)
		}
	}
	s.first().awaitSink(t, key, "all is well", func(s sinkState) bool { return s.Sink.State == "ok" && s.Lag+s.Pending+s.Dead == 0 })
}

// A message that the endpoint refuses becomes a dead letter, and those that came with it arrive.
func TestWebhookRefusesAMessage(t *testing.T) {
	key, target := newKey("sinks", "**"), receive(t)
	s := startWithSinks(t, webhook(target.URL, 2, key))
	target.answers(http.StatusServiceUnavailable)
	publish := func(data string) { s.first().publish(t, key, "devices/1/events", data) }
	publish(`"a"`)
	s.first().awaitSink(t, key, "the sink fails", func(s sinkState) bool { return s.Sink.State == "failing" })
	publish(`"poison"`)
	publish(`"b"`)
	target.judge(func(body string) int {
		if strings.Contains(body, "poison") {
			return http.StatusUnprocessableEntity
		}
		return http.StatusOK
	})
	s.first().resume(t, key)
	arrived := map[string]bool{}
	for _, e := range target.got(2) {
		arrived[string(e.Data)] = true
	}
	if !arrived[`"a"`] || !arrived[`"b"`] {
		t.Errorf("got %v", arrived)
	}
	s.last().awaitSink(t, key, "a dead letter", func(s sinkState) bool { return s.Dead == 1 && s.Lag+s.Pending == 0 && s.Sink.State == "ok" })
	a, err := s.last().call("GET", "/v1/groups/crm/dead", key.credential(), "")
	if err != nil || !strings.Contains(a.body, `"data":"poison"`) || !strings.Contains(a.body, `"attempts":2,"reason":"nack"`) {
		t.Errorf("%s, %v", a.body, err)
	}
}

// The document cannot have nodes reach into their own network, unless their operator allows it.
func TestWebhookOfAPrivateAddress(t *testing.T) {
	key, target := newKey("sinks", "**"), receive(t)
	target.judge(func(string) int { t.Error("a request"); return 200 })
	secure := webhook(strings.Replace(target.URL, "http://127.0.0.1", "https://localhost", 1), 0, key)
	s := startOneNode(t, secure)
	s.first().publish(t, key, "devices/1/events", "1")
	state := s.first().awaitSink(t, key, "the sink fails", func(s sinkState) bool { return s.Sink.State == "failing" })
	if !strings.Contains(state.Sink.LastError, "which is not public; add its network to -sink-networks") {
		t.Error(state.Sink.LastError)
	}
}
