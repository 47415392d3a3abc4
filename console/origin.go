package console

import (
	"net/http"
	"net/url"

	"fleetwire/clients/go/protocol"
)

// consoleHeader is on every request of the page that is no GET. A page of another origin cannot send
// it without being allowed to, which nothing does.
const consoleHeader = "X-Fleetwire-Console"

// sameOrigin refuses requests that another site has a browser make, with the cookie of the person at
// it. SameSite=Strict keeps the cookie from other sites, but not from other ports and other hosts of
// the same one.
func sameOrigin(r *http.Request) *protocol.Error {
	if !fromThisOrigin(r) {
		return protocol.Errorf(protocol.ActionNotPermitted, "the request comes from a page of another origin, and the console takes requests of its own page alone; if this is its own page, the proxy before the service must pass the Host header on")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Header.Get(consoleHeader) != "1" {
		return protocol.Errorf(protocol.ActionNotPermitted, "the header %s: 1 is missing; the console's page sends it", consoleHeader)
	}
	return nil
}

// fromThisOrigin goes by what browsers send. Sec-Fetch-Site says it whatever a proxy makes of the
// Host header, but it is sent over https and to loopback addresses alone.
func fromThisOrigin(r *http.Request) bool {
	if sites := r.Header.Values("Sec-Fetch-Site"); len(sites) > 0 {
		return len(sites) == 1 && (sites[0] == "same-origin" || sites[0] == "none") // none: typed into the address bar
	}
	for _, origin := range r.Header.Values("Origin") {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return false
		}
	}
	return true
}
