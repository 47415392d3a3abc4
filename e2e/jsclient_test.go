package e2e

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"fleetwire/pkg/nodejstest"
)

// jsClientPage makes the client for JavaScript, and what it tells, known to npm/jsclient.mjs.
const jsClientPage = `<!doctype html><title>A page with the client</title>
<script>globalThis.seen = { states: [], messages: [], directs: [], gaps: [], errors: [], peers: new Set() };</script>
<script type="module">import * as fleetwire from "/src/index.js"; globalThis.fleetwire = fleetwire;</script>`

// The client for JavaScript, as it lies in clients/js, on pages in a real browser: both nodes are replaced under
// it. npm/jsclient.mjs says what is looked at.
func TestJavaScriptClientInBrowsers(t *testing.T) {
	nodejstest.Path(t, 20, 3, npmFolder)
	chromium := chromiumPath(t)

	site := http.NewServeMux()
	site.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(jsClientPage)) // a page that is gone has nothing to say
	})
	site.Handle("GET /src/", http.StripPrefix("/src/", http.FileServer(http.Dir("../clients/js/src"))))
	pages, strangers := httptest.NewServer(site), httptest.NewServer(site)
	defer pages.Close()
	defer strangers.Close()

	secret := newKey("js", "log/**").only(everyAction...)
	public := &keyDoc{ID: "pk_live_js", Patterns: []string{"log/**"}, Actions: everyAction, Origins: []string{pages.URL}}
	f := startFleet(t, remembering("app_js", 1000, secret, public))
	orders := http.NewServeMux()
	orders.HandleFunc("POST /restart", func(http.ResponseWriter, *http.Request) { f.restart() })
	operator := httptest.NewServer(orders)
	defer operator.Close()
	runNPM(t, 4*patience, f.settings(map[string]any{
		"chromium": chromium, "page": pages.URL + "/", "strangerPage": strangers.URL + "/", "operator": operator.URL,
		"secretKey": secret.credential(), "publishableKey": public.ID,
	}), "jsclient.mjs")
}
