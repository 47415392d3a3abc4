package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"fleetwire/pkg/nodejstest"
)

// chromiumPath is a Chromium, or a browser made of it.
func chromiumPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("FLEETWIRE_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("SKIPPED: no Chromium; to get it: scripts/install-test-deps, or apt-get install chromium, or set FLEETWIRE_CHROMIUM to where one is")
	return ""
}

// Two pages in a real browser hold a WebRTC data channel and a video stream,
// through the published client's MeteredPeer and a publishable key. They are on
// different nodes. npm/browser.mjs says what is looked at.
func TestBrowsersMeet(t *testing.T) {
	nodejstest.Path(t, 20, 0, npmFolder)
	chromium := chromiumPath(t)

	site := http.NewServeMux()
	for path, file := range map[string]string{"/{$}": "page.html", "/realtime.js": "node_modules/@metered-ca/realtime/dist/index.umd.js"} {
		site.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, filepath.Join(npmFolder, filepath.FromSlash(file)))
		})
	}
	pages, strangers := httptest.NewServer(site), httptest.NewServer(site)
	defer pages.Close()
	defer strangers.Close()

	key := &keyDoc{ID: "pk_live_calls", Patterns: []string{"calls/**"}, Actions: everyAction, Origins: []string{pages.URL}}
	f := startFleet(t, newApp("app_calls", key))
	runNPM(t, 4*patience, f.settings(map[string]any{"chromium": chromium, "page": pages.URL + "/", "strangerPage": strangers.URL + "/", "key": key.ID}), "browser.mjs")
}
