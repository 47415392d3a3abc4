package lambda

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/functions/internal/apitest"
	"fleetwire/functions/peers"
	"fleetwire/functions/publish"
	"fleetwire/functions/tokens"
	"fleetwire/pkg/apps"
)

// fixture is an event of testdata/events, as AWS documents it.
func fixture(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "events", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// change sets members of an event's top level.
func change(t *testing.T, event []byte, members map[string]any) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(event, &m); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		m[name] = value
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answer is a response event of any front door.
type answer struct {
	StatusCode        int
	StatusDescription string
	Headers           map[string]string
	MultiValueHeaders map[string][]string
	Body              string
	IsBase64Encoded   bool
	Cookies           []string
}

func invoke(t *testing.T, h http.Handler, event []byte) answer {
	t.Helper()
	out, err := Events{Handler: h, Log: slog.New(slog.DiscardHandler)}.Invoke(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// seen is the request that a handler gets for an event.
func seen(t *testing.T, event []byte) (r *http.Request, body string) {
	t.Helper()
	invoke(t, http.HandlerFunc(func(_ http.ResponseWriter, got *http.Request) {
		b, err := io.ReadAll(got.Body)
		if err != nil {
			t.Error(err)
		}
		r, body = got, string(b)
	}), event)
	if r == nil {
		t.Fatal("the handler was not called")
	}
	return r, body
}

// Whatever the front door does to a path, the handlers find the channel in it.
func TestChannelsOfAllFixtures(t *testing.T) {
	b, err := os.ReadFile("testdata/channels.json")
	if err != nil {
		t.Fatal(err)
	}
	var channels map[string]string
	if err := json.Unmarshal(b, &channels); err != nil {
		t.Fatal(err)
	}
	for name, want := range channels {
		t.Run(name, func(t *testing.T) {
			r, body := seen(t, fixture(t, name))
			param, ok := publish.Route.Match(r.URL.EscapedPath())
			if !ok {
				t.Fatalf("%s is no publish", r.URL.EscapedPath())
			}
			if got := unescape(t, param); got != want {
				t.Errorf("channel %q, want %q", got, want)
			}
			if r.Method != "POST" || body != `{"data":{"cmd":"reboot"}}` || r.ContentLength != int64(len(body)) {
				t.Errorf("%s %s, %d bytes", r.Method, body, r.ContentLength)
			}
			if r.RemoteAddr != "203.0.113.7:0" {
				t.Errorf("RemoteAddr %q, want the address that the front door saw", r.RemoteAddr)
			}
			if auth := r.Header.Get("Authorization"); !strings.HasPrefix(auth, "Bearer sk_live_fixture:") {
				t.Errorf("Authorization %q", auth)
			}
			if r.Host == "" || r.Header.Get("Host") != "" {
				t.Errorf("Host %q, and as a header %q", r.Host, r.Header.Get("Host"))
			}
		})
	}
}

func TestEscapesArriveAsSent(t *testing.T) {
	for _, path := range []string{
		"/v1/channels/a%2Fb/publish", "/v1/channels/a%2fb/publish", "/v1/channels/%25%2b+/publish",
		"/v1/channels/a//b/../c/publish", "/v1/channels/%00/publish", "//a", "/a;b=c,d&e=f@:!$'()*",
	} {
		for _, name := range []string{"alb-multi-2F", "alb-single-2f"} {
			if r, _ := seen(t, change(t, fixture(t, name), map[string]any{"path": path})); r.URL.EscapedPath() != path {
				t.Errorf("%s: %s became %s", name, path, r.URL.EscapedPath())
			}
		}
		if r, _ := seen(t, change(t, fixture(t, "url-2F"), map[string]any{"rawPath": path})); r.URL.EscapedPath() != path {
			t.Errorf("function URL: %s became %s", path, r.URL.EscapedPath())
		}
	}
}

func TestBytesThatMayNotStandInAPath(t *testing.T) {
	r, _ := seen(t, change(t, fixture(t, "alb-multi-2F"), map[string]any{"path": "v1/a%2Fb?#\"\\ ü\x7f"}))
	if want := "/v1/a%2Fb%3F%23%22%5C%20%C3%BC%7F"; r.URL.EscapedPath() != want {
		t.Errorf("%s, want %s", r.URL.EscapedPath(), want)
	}
}

// The stage's name goes, a path that only begins like it stays, and "$default" is
// no part of any path.
func TestStageOfAnHTTPAPI(t *testing.T) {
	for _, tt := range []struct{ stage, rawPath, want string }{
		{"prod", "/prod/v1/tokens", "/v1/tokens"},
		{"prod", "/prod", "/"},
		{"prod", "/v1/tokens", "/v1/tokens"}, // a domain name of one's own
		{"v1", "/v1tokens", "/v1tokens"},
		{"$default", "/$default/x", "/$default/x"},
		{"", "/v1/a%b/c%2Fd", "/v1/a%25b/c%252Fd"}, // decoded already
	} {
		if got := unescape(t, normalize(fromAPIPath(tt.rawPath, tt.stage))); got != unescape(t, tt.want) {
			t.Errorf("stage %q, %s: %s, want %s", tt.stage, tt.rawPath, got, tt.want)
		}
	}
}

func TestQueryIsNotEncodedAgain(t *testing.T) {
	const want = "cursor=a%2Bb%3D&limit=5&pattern=devices%2F*%2Fevents&pattern=x+y"
	multi := change(t, fixture(t, "alb-multi-2F"), map[string]any{"multiValueQueryStringParameters": map[string][]string{
		"pattern": {"devices%2F*%2Fevents", "x+y"}, "limit": {"5"}, "cursor": {"a%2Bb%3D"},
	}})
	url := change(t, fixture(t, "url-2F"), map[string]any{"rawQueryString": want, "queryStringParameters": map[string]string{"limit": "wrong"}})
	for name, event := range map[string][]byte{"ALB": multi, "function URL": url} {
		if r, _ := seen(t, event); r.URL.RawQuery != want || !slices.Equal(r.URL.Query()["pattern"], []string{"devices/*/events", "x y"}) {
			t.Errorf("%s: %s", name, r.URL.RawQuery)
		}
	}
	single := change(t, fixture(t, "alb-single-2f"), map[string]any{"queryStringParameters": map[string]string{"pattern": "a%26b", "limit": "5"}})
	if r, _ := seen(t, single); r.URL.RawQuery != "limit=5&pattern=a%26b" {
		t.Errorf("ALB, single: %s", r.URL.RawQuery)
	}
}

func TestHeadersAndCookies(t *testing.T) {
	r, _ := seen(t, change(t, fixture(t, "alb-multi-2F"), map[string]any{"multiValueHeaders": map[string][]string{"x-a": {"1", "2"}}}))
	if got := r.Header.Values("X-A"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("X-A: %q", got)
	}
	r, _ = seen(t, change(t, fixture(t, "url-2F"), map[string]any{"cookies": []string{"a=1", "b=2"}}))
	if got := r.Header.Get("Cookie"); got != "a=1; b=2" {
		t.Errorf("Cookie: %q", got)
	}
}

// An attacker writes into X-Forwarded-For what they like; the balancer appends.
func TestSpoofedForwardedFor(t *testing.T) {
	for value, want := range map[string]string{
		"127.0.0.1, 198.51.100.9":       "198.51.100.9:0",
		"127.0.0.1,198.51.100.9:4711":   "198.51.100.9:4711", // client port preservation
		"10.0.0.1, 2001:db8::7":         "[2001:db8::7]:0",
		"198.51.100.9, [2001:db8::7]:1": "[2001:db8::7]:1",
		"198.51.100.9, unknown":         "",
		"198.51.100.9,":                 "",
		"":                              "",
	} {
		event := change(t, fixture(t, "alb-single-2f"), map[string]any{"headers": map[string]string{"x-forwarded-for": value}})
		if r, _ := seen(t, event); r.RemoteAddr != want {
			t.Errorf("%q: RemoteAddr %q, want %q", value, r.RemoteAddr, want)
		}
	}
	spoofed := change(t, fixture(t, "url-2F"), map[string]any{"headers": map[string]string{"x-forwarded-for": "127.0.0.1"}})
	if r, _ := seen(t, spoofed); r.RemoteAddr != "203.0.113.7:0" {
		t.Errorf("function URL: RemoteAddr %q", r.RemoteAddr)
	}
	two := change(t, fixture(t, "alb-multi-2F"), map[string]any{"multiValueHeaders": map[string][]string{"x-forwarded-for": {"127.0.0.1", "198.51.100.9"}}})
	if r, _ := seen(t, two); r.RemoteAddr != "198.51.100.9:0" {
		t.Errorf("two headers: RemoteAddr %q", r.RemoteAddr)
	}
}

func TestRefusedBeforeTheHandler(t *testing.T) {
	const whole = "did not arrive whole"
	tests := []struct {
		name, fixture string
		members       map[string]any
		want          string
	}{
		{"broken base64, ALB", "alb-multi-base64", map[string]any{"body": "{}"}, whole},
		{"broken base64, function URL", "url-base64", map[string]any{"body": "e30"}, whole},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := invoke(t, http.NotFoundHandler(), change(t, fixture(t, tt.fixture), tt.members))
			if a.StatusCode != 400 || !strings.HasPrefix(a.Body, `{"error":"invalid_request","message":"`) || !strings.Contains(a.Body, tt.want) {
				t.Errorf("%d %s", a.StatusCode, a.Body)
			}
		})
	}
}

// A broken escape is for the handlers to refuse, each by its own code, and only
// after the credential.
func TestBrokenEscapesReachTheHandlers(t *testing.T) {
	config, _ := apitest.Config(t)
	h := peers.NewDisconnect(config, nobody{}, nobody{})
	const credential = "Bearer " + apitest.KeyID + ":" + apitest.Secret
	for name, event := range map[string][]byte{
		"ALB":          change(t, fixture(t, "alb-multi-2F"), map[string]any{"httpMethod": "DELETE", "path": "/v1/peers/50%", "multiValueHeaders": map[string][]string{"authorization": {credential}}}),
		"function URL": change(t, fixture(t, "url-2F"), map[string]any{"rawPath": "/v1/peers/50%", "headers": map[string]string{"authorization": credential}}),
	} {
		event = []byte(strings.Replace(string(event), `"method":"POST"`, `"method":"DELETE"`, 1))
		if a := invoke(t, h, event); a.StatusCode != 400 || !strings.HasPrefix(a.Body, `{"error":"invalid_peer_id","message":"`) {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.Body)
		}
		without := change(t, event, map[string]any{"headers": nil, "multiValueHeaders": map[string][]string{}})
		if a := invoke(t, h, without); a.StatusCode != 401 {
			t.Errorf("%s, without a credential: %d %s", name, a.StatusCode, a.Body)
		}
	}
}

// nobody is connected.
type nobody struct{}

func (nobody) Disconnect(context.Context, string, string) (int64, error) { return 0, nil }

func (nobody) Revoke(context.Context, *apps.App, string, time.Time) error { return nil }

// Two credentials are refused here as on a node.
func TestTwoAuthorizationHeaders(t *testing.T) {
	config, _ := apitest.Config(t)
	const credential = "Bearer " + apitest.KeyID + ":" + apitest.Secret
	two := change(t, fixture(t, "token-alb"), map[string]any{"multiValueHeaders": map[string][]string{"authorization": {credential, "Bearer other"}}})
	if a := invoke(t, tokens.New(config), two); a.StatusCode != 400 || !strings.Contains(a.Body, "two Authorization headers") {
		t.Errorf("%d %s", a.StatusCode, a.Body)
	}
}

// The handlers' own checks see bodies as they are.
func TestBodies(t *testing.T) {
	config, _ := apitest.Config(t)
	h := tokens.New(config)
	const credential = "Bearer " + apitest.KeyID + ":" + apitest.Secret
	for name, event := range map[string][]byte{
		"ALB":          change(t, fixture(t, "token-alb"), map[string]any{"multiValueHeaders": map[string][]string{"authorization": {credential}}}),
		"function URL": change(t, fixture(t, "token-url"), map[string]any{"headers": map[string]string{"authorization": credential}}),
	} {
		if a := invoke(t, h, event); a.StatusCode != 200 || !strings.HasPrefix(a.Body, `{"token":"`) {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.Body)
		}
		if a := invoke(t, h, change(t, event, map[string]any{"body": ""})); a.StatusCode != 400 || !strings.Contains(a.Body, "must be a JSON object") {
			t.Errorf("%s, no body: %d %s", name, a.StatusCode, a.Body)
		}
		// All that a token may claim (protocol §3), as Python spells it.
		full := `{"peerId":"a","channels":["` + strings.Repeat(`devices/`+strings.Repeat(`\u00e9`, 124)+`","`, 99) + `devices/a"],"metadata":{"x":"` + strings.Repeat("x", 8184) + `"}}`
		if a := invoke(t, h, change(t, event, map[string]any{"body": full})); a.StatusCode != 200 || !strings.HasPrefix(a.Body, `{"token":"`) {
			t.Errorf("%s, full: %d %.200s", name, a.StatusCode, a.Body)
		}
		large := `{"peerId":"a","metadata":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`
		if a := invoke(t, h, change(t, event, map[string]any{"body": large})); a.StatusCode != 413 || !strings.Contains(a.Body, "larger than 131072 bytes") {
			t.Errorf("%s, large: %d %.200s", name, a.StatusCode, a.Body)
		}
	}
}

func TestResponses(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.Header().Add("Vary", "a")
		w.Header().Add("Vary", "b")
		w.Header().Add("Set-Cookie", "a=1")
		w.WriteHeader(http.StatusTooManyRequests)
		w.WriteHeader(http.StatusOK)        // too late
		w.Header().Set("Retry-After", "99") // as well
		_, _ = io.WriteString(w, "slow ")
		_, _ = io.WriteString(w, "down")
	})
	multi := invoke(t, h, fixture(t, "alb-multi-2F"))
	if multi.StatusCode != 429 || multi.StatusDescription != "429 Too Many Requests" || multi.Body != "slow down" || multi.IsBase64Encoded ||
		multi.Headers != nil || multi.MultiValueHeaders["Retry-After"][0] != "3" || !slices.Equal(multi.MultiValueHeaders["Vary"], []string{"a", "b"}) {
		t.Errorf("ALB, multi: %+v", multi)
	}
	single := invoke(t, h, fixture(t, "alb-single-2f"))
	if single.StatusCode != 429 || single.StatusDescription == "" || single.MultiValueHeaders != nil || single.Headers["Retry-After"] != "3" || single.Headers["Vary"] != "a, b" {
		t.Errorf("ALB, single: %+v", single)
	}
	for _, name := range []string{"url-2F", "api-slashes"} {
		a := invoke(t, h, fixture(t, name))
		if a.StatusCode != 429 || a.Headers["Vary"] != "a, b" || a.Headers["Retry-After"] != "3" || a.Body != "slow down" ||
			!slices.Equal(a.Cookies, []string{"a=1"}) || a.Headers["Set-Cookie"] != "" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestResponseBodies(t *testing.T) {
	binary := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0xff, 0x00}) })
	for _, name := range []string{"alb-multi-2F", "url-2F"} {
		if a := invoke(t, binary, fixture(t, name)); a.StatusCode != 200 || a.Body != "/wA=" || !a.IsBase64Encoded {
			t.Errorf("%s, bytes that are no text: %+v", name, a)
		}
		silent := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		if a := invoke(t, silent, fixture(t, name)); a.StatusCode != 200 || a.Body != "" {
			t.Errorf("%s, nothing written: %+v", name, a)
		}
	}
	head := change(t, fixture(t, "alb-multi-2F"), map[string]any{"httpMethod": "HEAD"})
	if a := invoke(t, binary, head); a.Body != "" {
		t.Errorf("HEAD got the body %q", a.Body)
	}
}

func TestEventsThatAreNoRequest(t *testing.T) {
	called := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") })
	for name, event := range map[string]string{
		"console test":      `{"key1":"value1"}`,
		"not JSON":          `x`,
		"null":              `null`,
		"a number":          `7`,
		"REST API":          `{"resource":"/{proxy+}","path":"/v1/tokens","httpMethod":"POST","requestContext":{"stage":"prod","httpMethod":"POST"}}`,
		"HTTP API, 1.0":     `{"version":"1.0","path":"/v1/tokens","httpMethod":"POST","requestContext":{"stage":"$default"}}`,
		"SQS":               `{"Records":[{"eventSource":"aws:sqs","body":"{}"}]}`,
		"ALB of wrong type": `{"requestContext":{"elb":{}},"path":7}`,
		"URL of wrong type": `{"version":"2.0","requestContext":{"http":{}},"rawPath":7}`,
	} {
		out, err := Events{Handler: called, Log: slog.New(slog.DiscardHandler)}.Invoke(t.Context(), []byte(event))
		if err == nil || out != nil || !strings.Contains(err.Error(), "the event ") {
			t.Errorf("%s: %s, %v", name, out, err)
		}
	}
}

// Lambda and load balancers bound the event to 1 MB: a page of 500 KiB fits, though
// it be full of what HTML, or a string in a string, would have escaped.
func TestEventsOfFullPages(t *testing.T) {
	for _, of := range []string{"<", "&>", `\"`, "\u2028", "é"} {
		page := `{"m":"` + strings.Repeat(of, (500<<10)/len(of)) + `"}`
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) })
		for _, name := range []string{"alb-multi-2F", "url-2F"} {
			event := fixture(t, name)
			out, err := Events{Handler: h, Log: slog.New(slog.DiscardHandler)}.Invoke(t.Context(), event)
			if err != nil || len(out) > 1<<20 {
				t.Errorf("%s: an event of %d bytes for 500 KiB of %q, %v", name, len(out), of, err)
			}
			if a := invoke(t, h, event); a.Body != page {
				t.Errorf("%s: 500 KiB of %q did not arrive as they were", name, of)
			}
		}
	}
}
