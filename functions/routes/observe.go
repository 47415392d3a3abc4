package routes

import (
	"net/http"
	"time"
)

// Observer hears of each request when it is answered: the template of its route,
// "" for none, its method, the status, and how long the answer took. method may
// lie in memory that the server uses again, so an Observer must not keep it.
type Observer func(route, method string, status int, took time.Duration)

// Tracer begins the span of a request to a route, given its template, "" for none. It returns the
// request with the span in its context, and what ends the span, with the status of the answer.
type Tracer func(route string, r *http.Request) (traced *http.Request, end func(status int))

// watched wraps the handler of a route, "" for none. Where nobody watches it is the handler itself.
func (c *Config) watched(route string, h http.Handler) http.Handler {
	if c.Observe == nil && c.Trace == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin, answer := time.Now(), &answer{ResponseWriter: w, status: http.StatusOK}
		if c.Trace != nil {
			traced, end := c.Trace(route, r)
			defer func() { end(answer.status) }()
			r = traced
		}
		h.ServeHTTP(answer, r)
		if c.Observe != nil {
			c.Observe(route, r.Method, answer.status, time.Since(begin))
		}
	})
}

// answer remembers the status that is written through it.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
