package node

import (
	"bufio"
	"cmp"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
)

// document in a file, which the node reads again only when told so.
func openDocument(t testing.TB, text string) (d *apps.Document, write func(text string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "apps.json")
	write = func(text string) { check(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(text)
	source, err := apps.SourceOf(path)
	check(t, err)
	d, err = apps.Open(t.Context(), source, slog.New(slog.DiscardHandler))
	check(t, err)
	return d, write
}

// An operator who asks why a change is not in force reads it on /readyz, but the
// balancer goes on sending connections.
func TestReadyzExplainsAStaleDocument(t *testing.T) {
	d, write := openDocument(t, document)
	r := start(t, func(o *Options) { o.Apps = d.Store })
	readyz := func() (int, string) {
		status, _, body := r.request("GET", "http://"+r.OpsAddr()+"/readyz", nil)
		return status, body
	}
	r.wantMetric("fleetwire_apps_stale", 0)

	write(strings.Replace(document, `"suspended":true`, `"suspended":"yes"`, 1))
	d.Refresh(t.Context())
	d.Refresh(t.Context())
	want := regexp.MustCompile(`^ready\nsince \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ the apps document in force is not the newest: .*apps\.json: apps document: apps\[3\]\.suspended: must be true or false, got "yes"\n$`)
	if status, body := readyz(); status != 200 || !want.MatchString(body) {
		t.Errorf("/readyz: %d %q", status, body)
	}
	r.wantMetric("fleetwire_apps_stale", 1)
	r.connect(keyID, "a").alive()

	back := redistest.Close(t, r.redis)
	eventually(t, "not ready", func() bool { return !r.Ready() })
	if status, body := readyz(); status != 503 || !strings.HasPrefix(body, "not ready: ") || strings.Count(body, "\n") != 2 {
		t.Errorf("/readyz without Redis: %d %q", status, body)
	}
	back()
	r.awaitReady()

	write(document)
	d.Refresh(t.Context())
	if status, body := readyz(); status != 200 || body != "ready\n" {
		t.Errorf("/readyz, mended: %d %q", status, body)
	}
	r.wantMetric("fleetwire_apps_stale", 0)
}

// Errors look as everywhere, and paths are not cleaned by a redirect.
func TestOpsErrors(t *testing.T) {
	r := start(t)
	for _, tt := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/", 404, "not_found", ""},
		{"GET", "//healthz", 404, "not_found", ""},
		{"GET", "/healthz/", 404, "not_found", ""},
		{"GET", "/debug/pprof/", 404, "not_found", ""},
		{"OPTIONS", "*", 404, "not_found", ""},
		{"POST", "/healthz", 405, "method_not_allowed", "GET, HEAD"},
		{"FOO", "/readyz", 405, "method_not_allowed", "GET, HEAD"},
		{"DELETE", "/metrics", 405, "method_not_allowed", "GET, HEAD"},
	} {
		conn, err := net.Dial("tcp", r.OpsAddr())
		check(t, err)
		check(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(conn, tt.method+" "+tt.path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		check(t, err)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		check(t, err)
		body, err := io.ReadAll(response.Body)
		check(t, err)
		if response.StatusCode != tt.status || response.Header.Get("Allow") != tt.allow || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d, Allow %q, %s", tt.method, tt.path, response.StatusCode, response.Header.Get("Allow"), response.Header.Get("Content-Type"))
		}
		wantErrorBody(t, string(body), tt.code)
		_ = conn.Close()
	}
}

// HOSTILE: what is no HTTP/1.1 is refused as on -listen, and no body is read.
func TestOpsRefusesWhatIsNoHTTP(t *testing.T) {
	r := start(t)
	for name, tt := range map[string]struct {
		request string
		status  int
	}{
		"two Hosts":               {"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		"no Host":                 {"GET /healthz HTTP/1.1\r\n\r\n", 400},
		"a host that is none":     {"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
		"HTTP/9.9":                {"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", 400},
		"no version":              {"GET /healthz\r\nHost: x\r\n\r\n", 400},
		"LF alone":                {"GET /healthz HTTP/1.1\nHost: x\n\n", 400},
		"a header without name":   {"GET /healthz HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400},
		"headers too large":       {"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 17<<10) + "\r\n\r\n", 431},
		"a request line too long": {"GET /" + strings.Repeat("x", 17<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
		"too many headers":        {"GET /healthz HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 101) + "\r\n", 431},
		"an unknown Expect":       {"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: y\r\n\r\n", 417},
		"a broken escape":         {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		"a body":                  {"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", 405},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", r.OpsAddr())
			check(t, err)
			defer conn.Close()
			check(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err = io.WriteString(conn, tt.request)
			check(t, err)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			check(t, err)
			body, err := io.ReadAll(response.Body)
			check(t, err)
			if response.StatusCode != tt.status || response.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s: %s", response.StatusCode, response.Header.Get("Content-Type"), body)
			}
			code := map[int]string{404: "not_found", 405: "method_not_allowed"}[tt.status]
			wantErrorBody(t, string(body), cmp.Or(code, "invalid_request"))
		})
	}
}

// HTTP/1.0 without a Host is what some balancers ask with, and HEAD has no body.
func TestOpsOfOldAndFrugalClients(t *testing.T) {
	r := start(t)
	for request, body := range map[string]string{
		"GET /healthz HTTP/1.0\r\n\r\n":                                  "ok\n",
		"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": "",
	} {
		conn, err := net.Dial("tcp", r.OpsAddr())
		check(t, err)
		check(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(conn, request)
		check(t, err)
		answer, err := io.ReadAll(conn)
		check(t, err)
		head, got, _ := strings.Cut(string(answer), "\r\n\r\n")
		if !strings.Contains(head, " 200 OK\r\n") || !strings.Contains(head, "Content-Type: text/plain; charset=utf-8") || got != body {
			t.Errorf("%q: %q", request, answer)
		}
		_ = conn.Close()
	}
}
