package node

import (
	"net/http"
	"time"
)

// CountRequests adds the metrics of a control plane to this node's, and returns
// what counts a request (telemetry.Metrics.CountRequests).
func (n *Node) CountRequests() func(route, method string, status int, took time.Duration) {
	return n.metrics.CountRequests()
}

// CountCommands adds the metric of a control plane's commands, and returns what counts one
// (telemetry.Metrics.CountCommands).
func (n *Node) CountCommands() func(result string) { return n.metrics.CountCommands() }

// leavingWhileDraining has each answer close its connection while the node drains.
// A proxy or a backend that keeps connections open so finds another node for its
// next request, instead of a closed connection when this node ends.
func (n *Node) leavingWhileDraining(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}
