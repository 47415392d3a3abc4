// Package peers serves what a backend may ask and do about the peers of its app:
// GET /v1/channels/{channel}/peers, GET /v1/peers, GET and DELETE /v1/peers/{peer}, and GET
// /v1/peers/{peer}/commands (protocol §5), and about the nodes: GET /v1/nodes.
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
	Registry    Registry
	Shower      Shower
	Commands    Commands
	Reporter    Reporter
}

// New makes the handler of all these routes.
func New(c api.Config, needs Config) http.Handler {
	return api.NewRouter(c, nil, NewList(c, needs.Members), NewAll(c, needs.Registry), NewCommands(c, needs.Commands), NewOne(c, needs.Registry, needs.Shower), NewDisconnect(c, needs.Connections, needs.Revocations), NewNodes(c, needs.Reporter))
}
