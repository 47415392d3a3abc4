package console

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func trusted(t *testing.T, network string) []netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(network)
	if err != nil {
		t.Fatal(err)
	}
	return []netip.Prefix{p}
}

// A request goes on as it came, with the key's credential in the place of the cookie.
func TestRequestsOfThePage(t *testing.T) {
	s := newSite(t)
	cookie := s.signIn(keyA)
	const bearer = " Bearer sk_a:" + secretA + " "
	for path, arrives := range map[string]string{
		"/console/api/v1/usage":                               "/v1/usage",
		"/console/api/v1/peers?prefix=a%2Fb&limit=5":          "/v1/peers?prefix=a%2Fb&limit=5",
		"/console/api/v1/channels/devices%2Fa%252Fb/messages": "/v1/channels/devices%2Fa%252Fb/messages",
		"/console/api/v1/channels/a//b/../c/messages":         "/v1/channels/a//b/../c/messages",
		"/console/api/console/session":                        "/console/session", // for the routes to refuse: the console is not asked again
	} {
		want(t, s.do("GET", path, "", cookie), 200, "GET "+arrives+bearer)
	}
	want(t, s.do("POST", "/console/api/v1/publish", `{"a":1}`, cookie), 200, "POST /v1/publish"+bearer+`{"a":1}`)
	want(t, s.do("DELETE", "/console/api/v1/peers/a", "", cookie), 200, "DELETE /v1/peers/a"+bearer)
	s.rest = func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" || len(r.Header.Values("Authorization")) != 1 {
			t.Errorf("the request has %v", r.Header)
		}
	}
	// HOSTILE: a credential beside the cookie does not count.
	s.do("GET", "/console/api/v1/usage", "", cookie, "Authorization: Bearer sk_b:"+secretB)
}

// HOSTILE: without a session, nothing reaches the routes: not with a credential or a token either.
func TestNotSignedIn(t *testing.T) {
	s := newSite(t)
	s.rest = func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s reached the routes", r.Method, r.URL) }
	session := strings.TrimPrefix(s.mint("sk_a"), "Cookie: fleetwire_console=")
	for _, header := range map[string]string{
		"a session in the query alone": "X-Other: 1",
		"a secret key":                 "Authorization: Bearer " + keyA,
		"a secret key as cookie":       "Cookie: fleetwire_console=" + keyA,
		"a session as credential":      "Authorization: Bearer " + session,
		"two sessions":                 "Cookie: fleetwire_console=" + session + "; fleetwire_console=" + session,
	} {
		want(t, s.do("GET", "/console/api/v1/usage?token="+session, "", header), 401, `"unauthorized"`)
		want(t, s.do("POST", "/console/api/v1/publish", "{}", header), 401, `"unauthorized"`)
	}
}

// HOSTILE: another site has the browser of somebody who is signed in make a request. Cookies do not
// tell ports and schemes apart, so SameSite alone does not keep all of them away.
func TestCrossSiteRequests(t *testing.T) {
	s := newSite(t)
	cookie := s.signIn(keyA)
	writes := []struct{ method, path, body string }{
		{"POST", "/console/api/v1/publish", "{}"}, {"DELETE", "/console/api/v1/peers/a", ""}, {"PUT", "/console/api/v1/peers/a", ""},
		{"DELETE", "/console/session", ""}, {"POST", "/console/session", ""},
	}
	reads := []struct{ method, path, body string }{{"GET", "/console/api/v1/usage", ""}, {"GET", "/console/keys", ""}, {"GET", "/console/session", ""}, {"HEAD", "/console/session", ""}}
	for name, headers := range map[string][]string{
		"another site":                     {"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"},
		"another host of the site":         {"Sec-Fetch-Site: same-site", "Origin: https://other.example.com"},
		"another port":                     {"Sec-Fetch-Site: same-site", "Origin: http://example.com:3000"},
		"another site, and our origin":     {"Sec-Fetch-Site: cross-site", "Origin: http://example.com"},
		"no Sec-Fetch-Site, another site":  {"Origin: https://evil.example"},
		"no Sec-Fetch-Site, another port":  {"Origin: http://example.com:3000"},
		"no Sec-Fetch-Site, null":          {"Origin: null"},
		"no Sec-Fetch-Site, a longer host": {"Origin: http://example.com.evil.example"},
		"an unknown Sec-Fetch-Site":        {"Sec-Fetch-Site: x"},
	} {
		for _, r := range append(writes, reads...) {
			w := s.do(r.method, r.path, r.body, append(headers, cookie)...)
			if w.Code != 403 || r.method != "HEAD" && !strings.Contains(w.Body.String(), "another origin") {
				t.Errorf("%s: %s %s: %d %s", name, r.method, r.path, w.Code, w.Body)
			}
		}
	}
	for _, header := range []string{"X-Fleetwire-Console: ", "X-Fleetwire-Console: 0", "X-Fleetwire-Console: 1, 1"} { // a form, or a script without a preflight
		for _, r := range writes {
			want(t, s.do(r.method, r.path, r.body, header, cookie), 403, "X-Fleetwire-Console: 1 is missing")
		}
	}
	preflight := s.do("OPTIONS", "/console/api/v1/publish", "", "Origin: https://evil.example", "Access-Control-Request-Headers: x-fleetwire-console", "X-Fleetwire-Console: ")
	want(t, preflight, 403, "")
	for name := range preflight.Header() {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("a preflight is answered with %s", name)
		}
	}
	for name, headers := range map[string][]string{
		"by https":                           {"Sec-Fetch-Site: same-origin", "Origin: https://example.com"},
		"by https, and a proxy renames Host": {"Sec-Fetch-Site: same-origin", "Origin: https://example.com", "Host: 10.0.0.1:8080"},
		"by http, to no loopback address":    {"Origin: http://example.com"},
		"no browser":                         nil,
	} {
		for _, r := range append(writes[:3:3], reads...) {
			if w := s.do(r.method, r.path, r.body, append(headers, cookie)...); w.Code != 200 {
				t.Errorf("%s: %s %s: %d %s", name, r.method, r.path, w.Code, w.Body)
			}
		}
	}
}

// A stream passes through as it is written, on the writer that the server gave.
func TestStreams(t *testing.T) {
	s := newSite(t)
	cookie := s.signIn(keyA)
	read := make(chan struct{})
	s.rest = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-read
		_, _ = io.WriteString(w, "data: 2\n\n")
	}
	server := httptest.NewServer(s)
	defer server.Close()
	r, _ := http.NewRequest("GET", server.URL+"/console/api/v1/events", nil)
	name, value, _ := strings.Cut(cookie, ": ")
	r.Header.Set(name, value)
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	in := bufio.NewReader(response.Body)
	if line, err := in.ReadString('\n'); line != "data: 1\n" || err != nil {
		t.Errorf("%q %v", line, err)
	}
	close(read)
	if rest, err := io.ReadAll(in); string(rest) != "\ndata: 2\n\n" || err != nil {
		t.Errorf("%q %v", rest, err)
	}

	var given, got http.ResponseWriter
	s.rest = func(w http.ResponseWriter, _ *http.Request) { got = w }
	r.URL.Path, given = "/console/api/v1/events", httptest.NewRecorder()
	s.ServeHTTP(given, r)
	if got != given {
		t.Error("the routes got another writer: one that the server knows tells of a client that hangs up")
	}
}
