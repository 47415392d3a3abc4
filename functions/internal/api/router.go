package api

import "net/http"

// Router serves several routes. It finds the route of a request's path, and cuts out
// its parameter, once. A path that is none of them is 404 not_found, a known one with
// another method 405 method_not_allowed.
//
// It is no http.ServeMux, because that cleans paths, answers those that it
// cleaned with a redirect, and so loses channels such as "a//b" (protocol §5).
type Router struct {
	routes   []Route
	handlers []http.Handler // of the routes
	nothing  http.Handler   // for every other path
}

// NewRouter makes a Router. wrap is put around the handler of each route, and of "" for
// none; nil: nothing is.
func NewRouter(c Config, wrap func(route string, h http.Handler) http.Handler, endpoints ...*Endpoint) *Router {
	if wrap == nil {
		wrap = func(_ string, h http.Handler) http.Handler { return h }
	}
	rt := &Router{}
	for _, e := range endpoints {
		rt.routes = append(rt.routes, e.Route)
		rt.handlers = append(rt.handlers, wrap(e.Route.Path, http.HandlerFunc(e.answer)))
	}
	rt.nothing = wrap("", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WriteError(w, r, c.log(), NotFound(rt.routes...))
	}))
	return rt
}

// ServeHTTP is http.Handler's.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := Path(r)
	for i, route := range rt.routes {
		if param, ok := route.Match(path); ok {
			route.setParam(r, param)
			rt.handlers[i].ServeHTTP(w, r)
			return
		}
	}
	rt.nothing.ServeHTTP(w, r)
}
