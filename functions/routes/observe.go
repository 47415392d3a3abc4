package routes

import (
	"net/http"
	"time"
)

// Observer hears of each request when it is answered: the template of its route,
// "" for none, its method, the status, and how long the answer took. method may
// lie in memory that the server uses again, so an Observer must not keep it.
type Observer func(route, method string, status int, took time.Duration)

// observed wraps the handler of a route, "" for none. Without an observer it is
// the handler itself.
func (observe Observer) observed(route string, h http.Handler) http.Handler {
	if observe == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin, answer := time.Now(), &answer{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(answer, r)
		observe(route, r.Method, answer.status, time.Since(begin))
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
