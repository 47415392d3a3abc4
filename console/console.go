// Package console serves a web page in which people look after their app: its devices, channels,
// commands and groups. A person signs in with a secret key. The page never holds it: it has a cookie
// that no script can read, and the requests that it makes under /console/api go to the REST handler
// of protocol §5, in this process, with the key in whose name the person has signed in.
//
// The page is built from src and committed in dist, so that Go alone builds the product.
package console

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/clientaddr"
)

// Config is what the console needs.
type Config struct {
	Apps           *apps.Store
	REST           http.Handler   // serves protocol §5, and every path that is not the console's
	Sessions       Sessions       // required
	TrustedProxies []netip.Prefix // networks whose X-Forwarded headers are believed
	Log            *slog.Logger
	Now            func() time.Time // nil: time.Now
}

// Sessions knows the sessions that people have signed out of: [fleetwire/pkg/revocation.Sessions].
type Sessions interface {
	End(ctx context.Context, s *auth.Session, now time.Time) error
	Ended(ctx context.Context, s *auth.Session) (bool, error)
}

// Console serves the page, its sessions and its requests.
type Console struct {
	Config
	failed failures
}

// New makes a Console.
func New(c Config) *Console {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Console{Config: c}
}

// apiPrefix comes before the path of a REST route.
const apiPrefix = "/console/api"

// ServeHTTP is http.Handler's.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if r.URL.RawPath != "" {
		path = r.URL.RawPath // as it was sent: no path of the console has an escape before the one of a route
	}
	if path != "/console" && !strings.HasPrefix(path, "/console/") {
		c.REST.ServeHTTP(w, r)
		return
	}
	protect(w.Header())
	if err := c.serve(w, r, path); err != nil {
		writeError(w, err)
	}
}

func (c *Console) serve(w http.ResponseWriter, r *http.Request, path string) *protocol.Error {
	switch name, ok := strings.CutPrefix(path, "/console/"); {
	case !ok:
		return redirect(w, r)
	case name == "" || strings.HasPrefix(name, "assets/"):
		return serveFile(w, r, name)
	case name == "session":
		return c.session(w, r)
	case name == "keys":
		return c.keys(w, r)
	case name == "groups":
		return c.groups(w, r)
	case strings.HasPrefix(name, "api/"):
		return c.api(w, r)
	}
	return protocol.Errorf(protocol.NotFound, "the console has nothing at this path; its page is /console/")
}

// address is where a request comes from, and what its failures count against.
func (c *Console) address(r *http.Request) (address, countedAs string) {
	a := clientaddr.Of(remote(r), r.Header.Values("X-Forwarded-For"), c.TrustedProxies)
	return a.String(), clientaddr.Limited(a)
}

func remote(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	return from.Addr()
}
