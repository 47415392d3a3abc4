package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// A key's allowedOrigins (protocol §1) hold for every connection that it opens,
// its own and those of its tokens, and keep out other sites' pages alone.
func TestAllowedOrigins(t *testing.T) {
	secret := newKey("origins", "devices/**")
	public := &keyDoc{ID: "pk_live_origins", Patterns: []string{"public/**"}, Actions: []string{"subscribe"}}
	secret.Origins = []string{"https://*.example.com"}
	public.Origins = []string{"https://app.example.com", "http://localhost:*"}
	open := &keyDoc{ID: "pk_live_open", Patterns: []string{"public/**"}, Actions: []string{"subscribe"}}
	paused := newApp("app_paused", &keyDoc{ID: "pk_live_paused", Patterns: []string{"**"}, Actions: []string{"subscribe"}, Origins: []string{"https://app.example.com"}})
	paused.Suspended = true
	s := startEmbedded(t, newApp("app_origins", secret, public, open), paused)
	token := secret.token("camera", nil)

	for _, c := range []struct {
		name, query string
		origins     []string // headers
		code        int      // 0: let in
	}{
		{"the page of a publishable key", "key=" + public.ID, []string{"https://app.example.com"}, 0},
		{"any port", "key=" + public.ID, []string{"http://localhost:5173"}, 0},
		{"a device, which has no origin", "key=" + public.ID, nil, 0},
		{"another site's page", "key=" + public.ID, []string{"https://evil.org"}, 4001},
		{"a sandboxed page", "key=" + public.ID, []string{"null"}, 4001},
		{"a longer host", "key=" + public.ID, []string{"https://app.example.com.evil.org"}, 4001},
		{"without TLS", "key=" + public.ID, []string{"http://app.example.com"}, 4001},
		{"a good one before a bad one", "key=" + public.ID, []string{"https://app.example.com", "https://evil.org"}, 4001},
		{"a bad one before a good one", "key=" + public.ID, []string{"https://evil.org", "https://app.example.com"}, 4001},
		{"two in one", "key=" + public.ID, []string{"https://evil.org, https://app.example.com"}, 4001},
		{"a token's page", "token=" + token, []string{"https://a.example.com"}, 0},
		{"a token without an origin", "token=" + token, nil, 0},
		{"a token on another site's page", "token=" + token, []string{"https://example.com"}, 4001},
		{"another key's page", "key=" + public.ID, []string{"https://a.example.com"}, 4001},
		{"a key for all", "key=" + open.ID, []string{"https://evil.org"}, 0},
		// The credential comes before the account (protocol §4.1).
		{"a suspended app on another site's page", "key=pk_live_paused", []string{"https://evil.org"}, 4001},
		{"a suspended app", "key=pk_live_paused", []string{"https://app.example.com"}, 4012},
		{"an unknown key", "key=pk_live_unknown", []string{"https://evil.org"}, 4001},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := s.first().dial(t, c.query, http.Header{"Origin": c.origins})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.code == 0:
				if frame := d.next(); !strings.HasPrefix(frame, `{"type":"welcome",`) {
					t.Errorf("the first frame is %s", frame)
				}
				d.alive()
			case c.code == 4001 && strings.HasPrefix(c.query, "key="+public.ID):
				d.expectClose(4001, "origin ", strings.Join(c.origins, ", "), "https://app.example.com, http://localhost:*")
			default:
				d.expectClose(c.code)
			}
		})
	}
}

// A refresh takes no connection to another key past that key's origins.
func TestRefreshKeepsTheOrigin(t *testing.T) {
	open, restricted := newKey("open", "**"), newKey("restricted", "**")
	restricted.Origins = []string{"https://app.example.com"}
	s := startEmbedded(t, newApp("app_refresh_origin", open, restricted))
	for origin, refused := range map[string]bool{"https://evil.org": true, "https://app.example.com": false, "": false} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		d, err := s.first().dial(t, "token="+open.token("camera", nil), header)
		if err != nil {
			t.Fatal(err)
		}
		d.next()
		id := d.request(`"type":"refresh","token":"` + restricted.token("camera", nil) + `"`)
		if refused {
			d.expectError(id, "invalid_token", origin, "https://app.example.com")
		} else if frame := d.next(); !strings.HasPrefix(frame, `{"type":"ack","requestId":"`+id+`","expiresAt":`) {
			t.Errorf("from %q: %s", origin, frame)
		}
		d.alive()
	}
}
