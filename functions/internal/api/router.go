package api

import (
	"net/http"
	"strings"

	"fleetwire/clients/go/protocol"
)

// Router serves several routes, which may share a path. It finds the routes of a
// request's path, and cuts out the parameter, once. A path that is none of them is 404
// not_found, a known one with another method 405 method_not_allowed.
//
// It is no http.ServeMux, because that cleans paths, answers those that it
// cleaned with a redirect, and so loses channels such as "a//b" (protocol §5).
type Router struct {
	routes   []Route
	handlers []http.Handler          // of the routes
	refuses  map[string]http.Handler // of each path, for other methods than its routes'
	nothing  http.Handler            // for every other path
}

// NewRouter makes a Router. wrap is put around the handler of each route, and of "" for
// none; nil: nothing is.
func NewRouter(c Config, wrap func(route string, h http.Handler) http.Handler, endpoints ...*Endpoint) *Router {
	if wrap == nil {
		wrap = func(_ string, h http.Handler) http.Handler { return h }
	}
	rt := &Router{refuses: map[string]http.Handler{}}
	for _, e := range endpoints {
		rt.routes = append(rt.routes, e.Route)
		rt.handlers = append(rt.handlers, wrap(e.Route.Path, http.HandlerFunc(e.answer)))
	}
	for _, route := range rt.routes {
		rt.refuses[route.Path] = wrap(route.Path, refusing(c, route.Path, rt.routes))
	}
	rt.nothing = wrap("", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WriteError(w, r, c.log(), NotFound(rt.routes...))
	}))
	return rt
}

// ServeHTTP is http.Handler's.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := Path(r)
	var others []Route // of the path, but with another method
	first := -1
	for i, route := range rt.routes {
		param, ok := route.Match(path)
		if !ok {
			continue
		}
		if route.Allows(r.Method) {
			route.setParam(r, param)
			rt.handlers[i].ServeHTTP(w, r)
			return
		}
		if others = append(others, route); first < 0 {
			first = i
		}
	}
	switch len(others) {
	case 0:
		rt.nothing.ServeHTTP(w, r)
	case 1:
		rt.handlers[first].ServeHTTP(w, r) // which refuses the method
	default:
		rt.refuses[others[0].Path].ServeHTTP(w, r)
	}
}

// refusing answers a method that none of the routes of a path has.
func refusing(c Config, path string, all []Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var allow []string
		for _, route := range all {
			if route.Path == path {
				allow = append(allow, route.Allow())
			}
		}
		WriteError(w, r, c.log(), methodNotAllowed(w, path, strings.Join(allow, ", ")))
	})
}

// methodNotAllowed is the error for a method that a path does not take.
func methodNotAllowed(w http.ResponseWriter, path, allow string) error {
	w.Header().Set("Allow", allow)
	return protocol.Errorf(protocol.MethodNotAllowed, "%s takes %s only", path, allow)
}
