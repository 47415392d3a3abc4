package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// web makes the REST calls. Without keep-alive, so that a stopped node and the
// end of a test leave nothing open.
var web = &http.Client{
	Timeout:   patience,
	Transport: &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	},
}

// answer is a REST response.
type answer struct {
	status int
	header http.Header
	body   string
}

// call makes a REST request. path goes out as it is, escapes and all. Headers
// come in pairs, and "" leaves one out.
func (n *node) call(method, path, credential, body string, headers ...string) (answer, error) {
	r, err := http.NewRequest(method, "http://"+n.addr, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.URL.Opaque = path // what net/http does not look into
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	return do(r)
}

func do(r *http.Request) (answer, error) { return doWith(web, r) }

func doWith(client *http.Client, r *http.Request) (answer, error) {
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

// publish publishes by REST, wants a 200, and returns how many are subscribed.
func (n *node) publish(t testing.TB, key *keyDoc, channel, data string) int {
	t.Helper()
	return n.publishBody(t, key, escaped(channel), `{"data":`+data+`}`)
}

func (n *node) publishBody(t testing.TB, key *keyDoc, escapedChannel, body string) int {
	t.Helper()
	a, err := n.call("POST", "/v1/channels/"+escapedChannel+"/publish", key.credential(), body)
	if err != nil {
		t.Fatal(err)
	}
	var ok struct {
		Channel     string
		Subscribers *int
	}
	if err := json.Unmarshal([]byte(a.body), &ok); a.status != 200 || err != nil || ok.Subscribers == nil {
		t.Fatalf("publish to %s: %d %s", escapedChannel, a.status, a.body)
	}
	return *ok.Subscribers
}

// escaped is the channel as one path segment, as JavaScript's
// encodeURIComponent makes it.
func escaped(channel string) string {
	var b strings.Builder
	for _, c := range []byte(channel) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.!~*'()", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		const hex = "0123456789ABCDEF"
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

// wantError checks an error's status and its whole body: the code, a message
// that says all of says, and nothing else.
func (a answer) wantError(t testing.TB, status int, code string, says ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d (%s)", a.status, status, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q, want application/json", got)
	}
	wantShape(t, a.body, `{"error":`+quoted(code)+`,"message":`, says)
}

// wantShape checks a JSON object that begins with head and ends with the
// message, byte by byte.
func wantShape(t testing.TB, object, head string, says []string) {
	t.Helper()
	rest, ok := strings.CutPrefix(object, head)
	literal, closed := strings.CutSuffix(rest, "}")
	var message string
	if err := json.Unmarshal([]byte(literal), &message); !ok || !closed || err != nil || message == "" {
		t.Errorf("got  %s\nwant %s\"…\"}", object, head)
		return
	}
	for _, text := range says {
		if !strings.Contains(message, text) {
			t.Errorf("the message %q does not say %q", message, text)
		}
	}
}

func quoted(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // strings always do
	return strings.TrimSuffix(b.String(), "\n")
}

// mint gets a token by POST /v1/tokens.
func (n *node) mint(t testing.TB, key *keyDoc, body string) string {
	t.Helper()
	a, err := n.call("POST", "/v1/tokens", key.credential(), body)
	if err != nil {
		t.Fatal(err)
	}
	var minted struct {
		Token     string
		ExpiresAt int64
	}
	if err := json.Unmarshal([]byte(a.body), &minted); err != nil || a.status != 200 || minted.Token == "" || minted.ExpiresAt == 0 {
		t.Fatalf("mint: %d %s", a.status, a.body)
	}
	return minted.Token
}
