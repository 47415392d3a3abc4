// Package peers serves what a backend may ask and do about the peers of its app:
// GET /v1/channels/{channel}/peers and DELETE /v1/peers/{peer} (protocol §5).
package peers

import (
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
	return api.NewRouter(c, nil, NewList(c, needs.Members), NewDisconnect(c, needs.Connections, needs.Revocations))
}
