package api

import (
	"context"
	"net/http"
)

// WhileConnected is the context of a request that may wait for long. It ends when the
// client hangs up, where the server tells that: net/http's ends the request's own context,
// and a fan-out node has a ResponseWriter with OnHangUp. stop must be called before the
// handler returns.
func WhileConnected(w http.ResponseWriter, r *http.Request) (ctx context.Context, stop func()) {
	for {
		switch one := w.(type) {
		case interface {
			OnHangUp(gone func()) (stop func())
		}:
			ctx, cancel := context.WithCancel(r.Context())
			unwatch := one.OnHangUp(cancel)
			return ctx, func() { unwatch(); cancel() }
		case interface{ Unwrap() http.ResponseWriter }:
			w = one.Unwrap()
		default:
			return r.Context(), func() {}
		}
	}
}
