// Package routes puts the functions of the control plane behind one
// http.Handler, as the load balancer's rules do in the AWS deployment, for
// servers that run them all in one process.
package routes

import (
	"log/slog"
	"net/http"
	"time"

	"fleetwire/functions/internal/api"
	"fleetwire/functions/peers"
	"fleetwire/functions/publish"
	"fleetwire/functions/tokens"
	"fleetwire/functions/usage"
	"fleetwire/pkg/apps"
)

// Route is one row of the REST table (protocol §5): a method, a path template
// with at most one {parameter}, and the folder in functions/ that serves it.
type Route = api.Route

// Config is what the functions need, all together.
type Config struct {
	Apps      *apps.Store       // required
	Limiter   api.RateLimiter   // required; requests per key
	Publisher publish.Publisher // required; the door for messages
	// Closes a peer's connections and refuses its tokens; nil: the route is
	// not served.
	Connections peers.Connections
	Revocations peers.Revocations
	Members     peers.Members    // who is in a channel; nil: the route is not served
	Usage       usage.Reader     // nil: the usage routes are not served
	Observe     Observer         // nil: requests are not observed
	Log         *slog.Logger     // nil: slog.Default()
	Now         func() time.Time // nil: time.Now
}

// All lists every route, so that a deployment can be held against it.
func All() []Route {
	return []Route{tokens.Route, publish.Route, peers.ListRoute, peers.DisconnectRoute, usage.Route, usage.ChannelsRoute, usage.PeersRoute}
}

// New makes the handler of all routes. An unknown path is 404
// not_found, a known one with another method 405 method_not_allowed.
//
// It is no http.ServeMux, because that cleans paths, answers those that it
// cleaned with a redirect, and so loses channels such as "a//b" (protocol §5).
func New(c Config) http.Handler {
	shared := api.Config{Apps: c.Apps, Limiter: c.Limiter, Log: c.Log, Now: c.Now}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	rt := &router{}
	add := func(route Route, h http.Handler) {
		rt.mounts = append(rt.mounts, mount{route, c.Observe.observed(route.Path, h)})
	}
	add(tokens.Route, tokens.New(shared))
	add(publish.Route, publish.New(shared, c.Publisher))
	if c.Members != nil {
		add(peers.ListRoute, peers.NewList(shared, c.Members))
	}
	if c.Connections != nil {
		add(peers.DisconnectRoute, peers.NewDisconnect(shared, c.Connections, c.Revocations))
	}
	if c.Usage != nil {
		figures := usage.New(shared, c.Usage)
		add(usage.Route, figures)
		add(usage.ChannelsRoute, figures)
		add(usage.PeersRoute, figures)
	}
	served := make([]Route, len(rt.mounts))
	for i, m := range rt.mounts {
		served[i] = m.route
	}
	rt.nothing = c.Observe.observed("", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.WriteError(w, r, c.Log, api.NotFound(served...))
	}))
	return rt
}

type router struct {
	mounts  []mount
	nothing http.Handler // for every other path
}

type mount struct {
	route   Route
	handler http.Handler
}

func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := api.Path(r)
	for _, m := range rt.mounts {
		if _, ok := m.route.Match(path); ok {
			m.handler.ServeHTTP(w, r) // which refuses the wrong method itself
			return
		}
	}
	rt.nothing.ServeHTTP(w, r)
}
