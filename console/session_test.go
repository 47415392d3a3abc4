package console

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSession(t *testing.T) {
	s := newSite(t)
	want(t, s.do("GET", "/console/session", ""), 401, `"unauthorized"`)
	for _, credential := range []string{keyA, "sk_a:" + secretA} {
		w := s.trySignIn(credential)
		want(t, w, 204, "")
		cookies := w.Result().Cookies()
		if len(cookies) != 1 {
			t.Fatalf("cookies %v", cookies)
		}
		if c := cookies[0]; c.Name != "fleetwire_console" || c.Path != "/console/" || !c.HttpOnly || c.Secure || c.SameSite != http.SameSiteStrictMode || c.MaxAge != 28800 || c.Domain != "" {
			t.Errorf("the cookie is %+v", c)
		}
		cookie := "Cookie: fleetwire_console=" + cookies[0].Value
		want(t, s.do("GET", "/console/session", "", cookie), 200,
			`{"app":"app_a","key":"sk_a","role":"full","channelPatterns":["devices/**"],"actions":["publish","subscribe"],"expiresAt":1767254400}`)
		want(t, s.do("GET", "/console/keys", "", cookie), 200, `{"keys":[`+
			`{"id":"sk_a","kind":"secret","role":"full","channelPatterns":["devices/**"],"actions":["publish","subscribe"],"allowedOrigins":[]},`+
			`{"id":"p…","kind":"publishable","role":"full","channelPatterns":["public/**"],"actions":["subscribe"],"allowedOrigins":["https://example.com"]}]}`)
	}
	want(t, s.do("GET", "/console/session", "", s.signIn("sk_b_secret_"+secretB)), 200, `{"app":"app_b","key":"sk_b","role":"viewer",`)
	w := s.do("DELETE", "/console/session", "", s.signIn(keyA))
	want(t, w, 204, "")
	if got := w.Header().Get("Set-Cookie"); got != "fleetwire_console=; Path=/console/; Max-Age=0; HttpOnly; SameSite=Strict" {
		t.Errorf("signing out sets the cookie %q", got)
	}
	want(t, s.do("PUT", "/console/session", "{}"), 405, "GET, POST, DELETE, HEAD")
	want(t, s.do("POST", "/console/keys", "{}"), 405, "GET, HEAD")
}

// A session lasts eight hours, on every node that has the same document.
func TestSessionEnds(t *testing.T) {
	s, other := newSite(t), newSite(t)
	cookie := s.signIn(keyA)
	want(t, other.do("GET", "/console/session", "", cookie), 200, `"sk_a"`)
	s.now = s.now.Add(8*time.Hour - time.Second)
	want(t, s.do("GET", "/console/api/v1/usage", "", cookie), 200, "GET /v1/usage")
	s.now = s.now.Add(time.Second)
	for _, path := range []string{"/console/session", "/console/keys", "/console/api/v1/usage"} {
		want(t, s.do("GET", path, "", cookie), 401, `"unauthorized"`)
	}
}

// HOSTILE: somebody copies the cookie, and uses it after its owner has signed out. The owner's other
// sessions go on. While it is not known what was signed out of, nobody gets in.
func TestSignOut(t *testing.T) {
	s := newSite(t)
	cookie, other := s.signIn(keyA), s.signIn(keyA)
	want(t, s.do("DELETE", "/console/session", "", cookie), 204, "")
	for _, path := range []string{"/console/session", "/console/keys", "/console/groups", "/console/api/v1/usage"} {
		want(t, s.do("GET", path, "", cookie), 401, `"unauthorized"`)
		want(t, s.do("GET", path, "", other), 200, "")
	}
	want(t, s.do("DELETE", "/console/session", "", cookie), 204, "")
	want(t, s.do("DELETE", "/console/session", ""), 204, "")
	s.down = errors.New("10.0.0.7 does not answer")
	for _, path := range []string{"/console/session", "/console/keys", "/console/groups", "/console/api/v1/usage"} {
		want(t, s.do("GET", path, "", other), 503, `"backend_error"`)
	}
	w := s.do("DELETE", "/console/session", "", other)
	want(t, w, 503, "this browser is signed out, but Redis does not answer")
	if !strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=0") || strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
}

// The cookie goes back by https alone if it came by https.
func TestSecureCookie(t *testing.T) {
	s := newSite(t)
	s.TrustedProxies = trusted(t, "10.0.0.0/8")
	for name, headers := range map[string][]string{
		"a page by https":             {"Origin: https://example.com"},
		"a proxy that ends TLS":       {"Remote: 10.0.0.1:1", "X-Forwarded-Proto: https"},
		"a proxy, and an http origin": {"Remote: 10.0.0.1:1", "X-Forwarded-Proto: https", "Origin: http://example.com"},
	} {
		w := s.trySignIn(keyA, headers...)
		want(t, w, 204, "")
		if !strings.Contains(w.Header().Get("Set-Cookie"), "; Secure") {
			t.Errorf("%s: %s", name, w.Header().Get("Set-Cookie"))
		}
	}
}

// HOSTILE: whatever is sent to sign in with, no answer and no line of the log shows any of it, and
// what is wrong with a key is not told.
func TestRefusedSignIns(t *testing.T) {
	s := newSite(t)
	var first string
	for i, key := range []string{
		"sk_a_secret_" + secretB, "sk_a:" + secretA + "x", "sk_a:" + secretA[1:], "sk_unknown:" + secretA, "sk_a", "pk_a", "pk_a:", "pk_a:x", secretA, "Bearer x",
	} {
		w := s.trySignIn(key, fmt.Sprintf("Remote: 203.0.113.%d:1", i))
		want(t, w, 401, `"unauthorized"`)
		if first == "" {
			first = w.Body.String()
		}
		if w.Body.String() != first || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: %s %v", key, w.Body, w.Header())
		}
	}
	for _, header := range []string{"", "Basic " + keyA, keyA, "Bearer", "Bearer " + strings.Repeat(secretA, 2000)} {
		w := s.do("POST", "/console/session", `{"key":"`+keyA+`"}`, "Authorization: "+header) // a body is not looked at
		if w.Code != 401 || w.Body.String() != first {
			t.Errorf("%.50s: %d %s", header, w.Code, w.Body)
		}
	}
	twice := httptest.NewRequest("POST", "/console/session", nil)
	twice.Header = http.Header{"X-Fleetwire-Console": {"1"}, "Authorization": {"Bearer " + keyA, "Bearer sk_a:x"}}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, twice)
	want(t, w, 400, "two Authorization headers")
	want(t, s.trySignIn("sk_off_secret_"+ended), 403, `"account_suspended"`)
	s.signIn(keyA)
	log := s.log.String()
	for _, secret := range []string{secretA, secretB, ended, "sk_unknown", "eyJ", keyA} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q:\n%s", secret, log)
		}
	}
	if !strings.Contains(log, `msg="a sign-in to the console failed" address=203.0.113.`) || !strings.Contains(log, `msg="signed in to the console" app=app_a key=sk_a address=203.0.113.7`) {
		t.Errorf("the log is\n%s", log)
	}
}

// HOSTILE: somebody keeps a session after the app was suspended, or the key rotated or removed.
func TestSessionsEndWithTheirKey(t *testing.T) {
	s := newSite(t)
	suspended := s.mint("sk_off")
	for _, path := range []string{"/console/session", "/console/keys", "/console/api/v1/usage"} {
		want(t, s.do("GET", path, "", suspended), 403, `"account_suspended"`)
	}
	cookie := s.signIn(keyA)
	for _, changed := range []string{
		strings.ReplaceAll(document, secretA, ended),
		strings.ReplaceAll(document, "sk_a", "sk_other"),
	} {
		s.Apps.Replace(directory(t, changed))
		for _, path := range []string{"/console/session", "/console/keys", "/console/api/v1/usage"} {
			want(t, s.do("GET", path, "", cookie), 401, `"unauthorized"`)
		}
	}
}

// HOSTILE: guessing keys. An address has ten tries a minute, then it waits; a good key is no way
// around. Other addresses go on, but for those of the same IPv6 network.
func TestSignInFlood(t *testing.T) {
	s := newSite(t)
	try := func(remote, key string) int {
		return s.trySignIn(key, "Remote: "+remote).Code
	}
	for i := range 30 {
		want := 401
		if i >= maxFailures {
			want = 429
		}
		if got := try("[2001:db8::1]:1", "sk_a:guess"); got != want {
			t.Fatalf("try %d: %d, want %d", i, got, want)
		}
	}
	s.now = s.now.Add(20 * time.Second)
	w := s.trySignIn(keyA, "Remote: [2001:db8::ffff:2]:1")
	want(t, w, 429, `"rate_limited"`)
	if got := w.Header().Get("Retry-After"); got != "40" {
		t.Errorf("Retry-After %s, want 40", got)
	}
	if got := try("[2001:db8:0:1::1]:1", keyA); got != 204 {
		t.Errorf("another network: %d", got)
	}
	s.now = s.now.Add(40 * time.Second)
	if got := try("[2001:db8::1]:1", keyA); got != 204 {
		t.Errorf("a minute later: %d", got)
	}
	s.TrustedProxies = trusted(t, "10.0.0.0/8")
	for range maxFailures + 1 { // behind a proxy, each client counts by itself, whatever it claims
		s.trySignIn("x", "Remote: 10.0.0.1:1", "X-Forwarded-For: 1.1.1.1, 198.51.100.1")
	}
	want(t, s.trySignIn("x", "Remote: 10.0.0.1:1", "X-Forwarded-For: 2.2.2.2, 198.51.100.1"), 429, "")
	want(t, s.trySignIn("x", "Remote: 10.0.0.1:1", "X-Forwarded-For: 198.51.100.2"), 401, "")
}

// HOSTILE: guessing from a great many addresses takes bounded memory and few lines of the log, and
// keeps nobody else out.
func TestSignInFloodFromManyAddresses(t *testing.T) {
	s := newSite(t)
	const many = maxAddresses + 500
	for i := range many {
		s.trySignIn("x", fmt.Sprintf("Remote: 10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
	}
	if n := len(s.failed.of); n > maxAddresses {
		t.Errorf("%d addresses are remembered", n)
	}
	if n := strings.Count(s.log.String(), "\n"); n != maxLogged {
		t.Errorf("%d lines in the log, want %d", n, maxLogged)
	}
	s.signIn(keyA)
	s.now = s.now.Add(window)
	s.trySignIn("x")
	if n := len(s.failed.of); n != 1 {
		t.Errorf("%d addresses are remembered a minute later", n)
	}
	if want := fmt.Sprintf("failed in one minute than were logged\" more=%d\n", many-maxLogged); !strings.Contains(s.log.String(), want) {
		t.Errorf("the log has no line that ends in %s", want)
	}
}
