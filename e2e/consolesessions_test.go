package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// consoleRequest is a request as the page of the console makes it, in a browser that sends no Origin.
func consoleRequest(t testing.TB, method, url, cookie, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Fleetwire-Console", "1")
	r.Header.Set("Content-Type", "application/json")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	return r
}

// signIn signs in to the console of a node.
func (n *node) signIn(t testing.TB, credential string) answer {
	t.Helper()
	return signIn(t, do, "http://"+n.addr, credential)
}

func signIn(t testing.TB, do func(*http.Request) (answer, error), base, credential string) answer {
	t.Helper()
	r := consoleRequest(t, "POST", base+"/console/session", "", "")
	r.Header.Set("Authorization", "Bearer "+credential)
	a, err := do(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// console makes a request of the page.
func (n *node) console(t testing.TB, method, path, cookie, body string) answer {
	t.Helper()
	a, err := do(consoleRequest(t, method, "http://"+n.addr+"/console/"+path, cookie, body))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sessionOf is the cookie that an answer sets.
func sessionOf(t testing.TB, a answer) string {
	t.Helper()
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	if a.status != 204 || !strings.HasPrefix(cookie, "fleetwire_console=eyJ") {
		t.Fatalf("signing in: %d %s %v", a.status, a.body, a.header)
	}
	return cookie
}

// A session is good on every node, for what its key may do, until the key's secret is another. No
// log line and no metric has any of it.
func TestConsoleSessions(t *testing.T) {
	key := newKey("console", "devices/**").only("publish", "subscribe", "presence")
	other := newKey("console_other", "**")
	viewer := newKey("console_viewer", "**").only("publish", "subscribe", "presence", "send")
	viewer.Role = "viewer"
	s := startTwoNodes(t, newApp("app_console", key, viewer), newApp("app_other", other))
	first, last := s.first(), s.last()

	for _, credential := range []string{key.credential() + "x", key.ID, "", other.ID + ":" + key.Secret} {
		if a := first.signIn(t, credential); a.status != 401 || strings.Contains(a.body, secretMark) {
			t.Errorf("signing in with %s: %d %s", credential, a.status, a.body)
		}
	}
	cookie := sessionOf(t, first.signIn(t, key.credential()))
	if a := last.console(t, "GET", "session", cookie, ""); a.status != 200 || !strings.HasPrefix(a.body, `{"app":"app_console","key":"`+key.ID+`",`) {
		t.Errorf("the session at the other node: %d %s", a.status, a.body)
	}
	if a := last.console(t, "GET", "keys", cookie, ""); a.status != 200 || strings.Contains(a.body, secretMark) || strings.Contains(a.body, other.ID) {
		t.Errorf("the app's keys: %d %s", a.status, a.body)
	}
	camera := first.connect(t, key.token("camera-001", claims{"permissions": []string{"subscribe"}})).subscribe("devices/camera-001/commands")
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "api/v1/channels/devices%2Fcamera-001%2Fcommands/publish", `{"data":"reboot"}`, 200, `"subscribers":1}`},
		{"POST", "api/v1/channels/other/publish", `{"data":1}`, 403, "channel_not_authorized"},
		{"GET", "api/v1/peers/camera-001", "", 200, `"subscriptions":["devices/camera-001/commands"]`},
		{"GET", "api/v1/nothing", "", 404, "not_found"},
		{"GET", "api/v1", "", 404, "not_found"}, // the path of sockets is none of the routes
	} {
		if a := last.console(t, c.method, c.path, cookie, c.body); a.status != c.status || !strings.Contains(a.body, c.says) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, a.status, a.body, c.status, c.says)
		}
	}
	camera.expectMessage("devices/camera-001/commands", "server", `"reboot"`)

	// HOSTILE: a viewer who writes.
	looks := sessionOf(t, first.signIn(t, viewer.credential()))
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "peers", 200}, {"GET", "peers/camera-001", 200}, {"POST", "channels/a/publish", 403}, {"POST", "publish", 403}, {"POST", "tokens", 403},
		{"POST", "channels/a/commands", 403}, {"DELETE", "peers/camera-001?revoke=true", 403}, {"DELETE", "channels/a/messages", 403},
	} {
		if a := last.console(t, c.method, "api/v1/"+c.path, looks, `{"data":1}`); a.status != c.status || c.status == 403 && !strings.Contains(a.body, "which only reads") {
			t.Errorf("%s %s by a viewer: %d %s, want %d", c.method, c.path, a.status, a.body, c.status)
		}
	}

	// HOSTILE: the cookie as another credential, and other credentials as the cookie.
	session := strings.TrimPrefix(cookie, "fleetwire_console=")
	first.refused(t, "token="+session, 4001)
	if a, err := first.call("GET", "/v1/usage", session, ""); err != nil || a.status != 401 {
		t.Errorf("a session as a backend's credential: %v %d %s", err, a.status, a.body)
	}
	for _, cookie := range []string{key.token("camera-001", nil), key.credential()} {
		if a := first.console(t, "GET", "api/v1/usage", "fleetwire_console="+cookie, ""); a.status != 401 {
			t.Errorf("another credential as a session: %d %s", a.status, a.body)
		}
	}

	// HOSTILE: a copy of the cookie, at another node than the one at which its owner has signed out.
	copied := sessionOf(t, first.signIn(t, viewer.credential()))
	if a := first.console(t, "DELETE", "session", copied, ""); a.status != 204 {
		t.Errorf("signing out: %d %s", a.status, a.body)
	}
	for cookie, want := range map[string]int{copied: 401, looks: 200} {
		if a := last.console(t, "GET", "session", cookie, ""); a.status != want {
			t.Errorf("after signing out: %d %s, want %d", a.status, a.body, want)
		}
	}

	metrics := first.metrics(t) + last.metrics(t)
	for _, line := range []string{`{method="POST",route="/v1/channels/{channel}/publish",status="200"} 1`, `{method="GET",route="/v1/peers/{peer}",status="200"} 2`} {
		if !strings.Contains(metrics, "fleetwire_http_requests_total"+line+"\n") {
			t.Errorf("/metrics lacks the page's request %s", line)
		}
	}
	if strings.Contains(metrics, secretMark) || strings.Contains(metrics, "eyJ") {
		t.Error("/metrics has a secret or a session in it")
	}
	if !strings.Contains(s.log.String(), `msg="signed in to the console" app=app_console key=`+key.ID+` address=127.0.0.1`) {
		t.Error("the log has no line for signing in")
	}

	rotated := newKey("console", "devices/**")
	rotated.Secret = secretMark + strings.Repeat("0", 40)
	s.apps.Replace(directory(t, newApp("app_console", rotated)))
	for _, n := range s.nodes {
		if a := n.console(t, "GET", "api/v1/usage", cookie, ""); a.status != 401 {
			t.Errorf("the session of a rotated key: %d %s", a.status, a.body)
		}
	}
}

// checkConsole: the page and its requests pass the proxy, and the cookie goes back by https alone.
func (f *front) checkConsole(key *keyDoc) {
	f.t.Helper()
	call := func(method, path, cookie, body string) answer {
		f.t.Helper()
		a, err := f.do(consoleRequest(f.t, method, "https://"+proxyHost+path, cookie, body))
		if err != nil {
			f.t.Fatal(err)
		}
		return a
	}
	if a := call("GET", "/console/", "", ""); a.status != 200 || !strings.HasPrefix(a.body, "<!doctype html>") || a.header.Get("Content-Security-Policy") == "" {
		f.t.Errorf("the page of the console: %d %.100s %v", a.status, a.body, a.header)
	}
	a := signIn(f.t, f.do, "https://"+proxyHost, key.credential())
	cookie := sessionOf(f.t, a)
	if !strings.Contains(a.header.Get("Set-Cookie"), "; Secure") {
		f.t.Error("the cookie of a session by https may go back by http: the proxy does not send X-Forwarded-Proto")
	}
	if a := call("POST", "/console/api/v1/channels/devices%2F%2Fb%252F/publish", cookie, `{"data":1}`); a.status != 200 || !strings.HasPrefix(a.body, `{"channel":"devices//b%2F",`) {
		f.t.Errorf("a request of the console: %d %s", a.status, a.body)
	}
	// A browser says where the page comes from; the proxy must pass on to which host it goes.
	r := consoleRequest(f.t, "DELETE", "https://"+proxyHost+"/console/session", cookie, "")
	r.Header.Set("Origin", "https://"+proxyHost)
	if a, err := f.do(r); err != nil || a.status != 204 {
		f.t.Errorf("signing out: %v %d %s", err, a.status, a.body)
	}
}
