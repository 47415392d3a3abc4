package console

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// The page names assets that are there, with a hash in their name, and all that are there.
func TestPage(t *testing.T) {
	s := newSite(t)
	page := s.do("GET", "/console/", "")
	want(t, page, 200, "<!doctype html>")
	if h := page.Header(); h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Cache-Control") != "no-cache" {
		t.Errorf("the page's headers: %v", h)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page.Body.String(), -1) {
		named[m[1]] = true
		if !regexp.MustCompile(`^assets/[a-z]+-[0-9A-Z]{8}\.[a-z]+$`).MatchString(m[1]) {
			t.Errorf("the page names %s: want an asset with a hash in its name", m[1])
		}
		asset := s.do("GET", "/console/"+m[1], "")
		want(t, asset, 200, "")
		if got := asset.Header().Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", m[1], got)
		}
	}
	assets, err := fs.ReadDir(dist, "dist/assets")
	if err != nil {
		t.Fatal(err)
	}
	for _, asset := range assets {
		if !named["assets/"+asset.Name()] {
			t.Errorf("dist has assets/%s, which the page does not name: make console removes it", asset.Name())
		}
	}
	for _, inline := range []string{"<style", "style=", "onclick", "onload", "<script>"} {
		if strings.Contains(page.Body.String(), inline) {
			t.Errorf("the page has %s in it, which its policy refuses", inline)
		}
	}
}

func TestRedirect(t *testing.T) {
	s := newSite(t)
	w := s.do("GET", "/console", "")
	want(t, w, 308, "")
	if got := w.Header().Get("Location"); got != "/console/" {
		t.Errorf("Location %q", got)
	}
	for _, path := range []string{"/console", "/console/"} {
		w := s.do("POST", path, "")
		want(t, w, 405, "method_not_allowed")
		if got := w.Header().Get("Allow"); got != "GET, HEAD" {
			t.Errorf("%s: Allow %q", path, got)
		}
	}
}

// HOSTILE: paths that mean to leave the folder of the page, or to reach what it is built from.
func TestTraversal(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{
		"/console/assets/../index.html", "/console/assets/../../console.go", "/console/assets/..%2findex.html", "/console/assets/%2e%2e/index.html",
		"/console/assets//etc/passwd", "/console/assets/", "/console/assets", "/console/assets/.", "/console/assets/..", "/console/index.html", "/console/dist/index.html",
		"/console/src/main.jsx", "/console/package.json", "/console/assets/..\\index.html", "/console/assets/%00", "/console//", "/console/./", "/console/api", "/console/session/", "/console/keys/x",
	} {
		r, _ := http.NewRequest("GET", "http://example.com/", nil)
		r.URL.Path, r.URL.RawPath = path, path
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if body := w.Body.String(); !strings.HasPrefix(body, `{"error":"not_found",`) {
			t.Errorf("%s: %.100s", path, body)
		}
	}
	for _, path := range []string{"/Console/", "/consoles", "/%63onsole/", "//console/", "/v1/console/"} {
		want(t, s.do("GET", path, ""), 200, "GET "+path) // the REST handler's
	}
}

// HOSTILE: a page that puts the console into a frame, reads its answers as a script, or has it load
// something from elsewhere. Each answer forbids all of that.
func TestHeaders(t *testing.T) {
	s := newSite(t)
	cookie := s.signIn(keyA)
	for _, path := range []string{"/console", "/console/", "/console/nothing", "/console/session", "/console/keys", "/console/api/v1/usage"} {
		h := s.do("GET", path, "", cookie).Header()
		for name, value := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Access-Control-Allow-Origin": "",
		} {
			if got := h.Get(name); got != value {
				t.Errorf("%s: %s %q, want %q", path, name, got, value)
			}
		}
		directives := map[string]string{}
		for _, d := range strings.Split(h.Get("Content-Security-Policy"), "; ") {
			name, value, _ := strings.Cut(d, " ")
			directives[name] = value
		}
		for name, value := range map[string]string{
			"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'", "img-src": "'self'",
			"base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'", "trusted-types": "'none'",
		} {
			if directives[name] != value {
				t.Errorf("%s: policy has %s %q, want %q", path, name, directives[name], value)
			}
		}
	}
}

// A request that is not the console's costs nothing more with it.
func TestOtherRequestsCostNothing(t *testing.T) {
	s := newSite(t)
	s.rest = func(http.ResponseWriter, *http.Request) {}
	r, _ := http.NewRequest("POST", "http://example.com/v1/channels/devices%2Fa/publish", nil)
	if allocs := testing.AllocsPerRun(100, func() { s.ServeHTTP(nil, r) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
