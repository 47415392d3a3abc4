package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fleetwire/pkg/apps"
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

	r.redis.Close()
	eventually(t, "not ready", func() bool { return !r.Ready() })
	if status, body := readyz(); status != 503 || !strings.HasPrefix(body, "not ready: ") || strings.Count(body, "\n") != 2 {
		t.Errorf("/readyz without Redis: %d %q", status, body)
	}
	check(t, r.redis.Restart())
	r.awaitReady()

	write(document)
	d.Refresh(t.Context())
	if status, body := readyz(); status != 200 || body != "ready\n" {
		t.Errorf("/readyz, mended: %d %q", status, body)
	}
	r.wantMetric("fleetwire_apps_stale", 0)
}
