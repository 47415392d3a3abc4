package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"fleetwire/functions/internal/api"
)

// watching is a ResponseWriter of a server that tells when a client hangs up.
type watching struct {
	http.ResponseWriter
	gone    func()
	stopped bool
}

func (w *watching) OnHangUp(gone func()) (stop func()) {
	w.gone = gone
	return func() { w.stopped = true }
}

// wrapped is one behind a middleware.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestWhileConnected(t *testing.T) {
	server := &watching{ResponseWriter: httptest.NewRecorder()}
	r := httptest.NewRequest("GET", "/", nil)
	ctx, stop := api.WhileConnected(wrapped{server}, r)
	if ctx.Err() != nil {
		t.Error("it has ended")
	}
	server.gone()
	if ctx.Err() == nil {
		t.Error("it outlives the client")
	}
	if stop(); !server.stopped {
		t.Error("the server goes on watching")
	}
	ctx, stop = api.WhileConnected(wrapped{server}, r)
	if stop(); ctx.Err() == nil {
		t.Error("it outlives the request")
	}
	// net/http's server ends the request's own context.
	own, cancel := context.WithCancel(context.Background())
	ctx, stop = api.WhileConnected(wrapped{httptest.NewRecorder()}, r.WithContext(own))
	defer stop()
	if cancel(); ctx.Err() == nil {
		t.Error("it outlives the request's context")
	}
}
