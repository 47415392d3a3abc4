// Package peers serves what a backend may ask and do about the peers of its app:
// GET /v1/channels/{channel}/peers and DELETE /v1/peers/{peer} (protocol §5).
package peers

import (
	"log/slog"
	"net/http"

	"fleetwire/functions/internal/api"
)

// Config is what the handlers need, all of it required.
type Config struct {
	Connections Connections
	Revocations Revocations
	Members     Members
}

// New makes the handler of both routes.
func New(c api.Config, needs Config) http.Handler {
	list := NewList(c, needs.Members)
	disconnect := NewDisconnect(c, needs.Connections, needs.Revocations)
	log := c.Log
	if log == nil {
		log = slog.Default()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := api.Path(r)
		if _, ok := ListRoute.Match(path); ok {
			list.ServeHTTP(w, r)
		} else if _, ok := DisconnectRoute.Match(path); ok {
			disconnect.ServeHTTP(w, r)
		} else {
			api.WriteError(w, r, log, api.NotFound(ListRoute, DisconnectRoute))
		}
	})
}
