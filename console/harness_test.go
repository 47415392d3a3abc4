package console

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/logtest"
)

const (
	secretA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	secretB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	keyA    = "sk_a_secret_" + secretA
	ended   = "cccccccccccccccccccccccccccccccccccccccc"
)

const document = `{"apps":[
	{"id":"app_a","keys":[
		{"id":"sk_a","secret":"` + secretA + `","channelPatterns":["devices/**"],"actions":["publish","subscribe"]},
		{"id":"pk_a","channelPatterns":["public/**"],"actions":["subscribe"],"allowedOrigins":["https://example.com"]}]},
	{"id":"app_b","keys":[{"id":"sk_b","role":"viewer","secret":"` + secretB + `","channelPatterns":["**"],"actions":[]}]},
	{"id":"app_off","suspended":true,"keys":[{"id":"sk_off","secret":"` + ended + `","channelPatterns":["**"],"actions":[]}]}]}`

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a console with a REST handler that says what it is asked.
type site struct {
	*Console
	t    *testing.T
	log  *logtest.Buffer
	now  time.Time
	rest func(w http.ResponseWriter, r *http.Request)
	out  map[string]bool // ids of the sessions that were signed out of
	down error           // of what knows them
}

// End is Sessions'.
func (s *site) End(_ context.Context, session *auth.Session, _ time.Time) error {
	if s.down == nil {
		s.out[session.ID] = true
	}
	return s.down
}

// Ended is Sessions'.
func (s *site) Ended(_ context.Context, session *auth.Session) (bool, error) {
	return s.out[session.ID], s.down
}

func newSite(t *testing.T) *site {
	s := &site{t: t, log: new(logtest.Buffer), out: map[string]bool{}, now: time.Unix(1767225600, 0)}
	s.rest = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), body)
	}
	s.Console = New(Config{
		Apps: apps.NewStore(directory(t, document)), Log: slog.New(slog.NewTextHandler(s.log, nil)), Now: func() time.Time { return s.now },
		Sessions: s, REST: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.rest(w, r) }),
	})
	return s
}

func directory(t *testing.T, text string) *apps.Directory {
	t.Helper()
	dir, err := apps.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// do makes a request as the page does. headers are further ones, "Name: value"; one without a value
// takes a header away.
func (s *site) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "203.0.113.7:4000"
	if method != "GET" && method != "HEAD" {
		r.Header.Set("X-Fleetwire-Console", "1")
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Del(name)
		switch name {
		case "Remote":
			r.RemoteAddr = value
		case "Host":
			r.Host = value
		default:
			if value != "" {
				r.Header.Set(name, value)
			}
		}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// trySignIn signs in with what may be a credential.
func (s *site) trySignIn(credential string, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do("POST", "/console/session", "", append(headers, "Authorization: Bearer "+credential)...)
}

// signIn gives the Cookie header of a session, which is a header for do.
func (s *site) signIn(credential string) string {
	s.t.Helper()
	w := s.trySignIn(credential)
	want(s.t, w, 204, "")
	session, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	return "Cookie: " + session
}

func want(t *testing.T, w *httptest.ResponseRecorder, status int, says string) {
	t.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), says) {
		t.Errorf("%d %s, want %d %s", w.Code, w.Body, status, says)
	}
}

// mint is a session of a key, whether it may sign in or not.
func (s *site) mint(keyID string) string {
	s.t.Helper()
	key, ok := s.Apps.Current().Key(keyID)
	if !ok {
		s.t.Fatalf("no key %s", keyID)
	}
	session, err := auth.MintSession(key, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	return "Cookie: " + auth.SessionCookie + "=" + session
}
