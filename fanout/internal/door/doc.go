// Package door is the address that devices and backends connect to: an HTTP server
// (fiber's) that upgrades GET /v1 to WebSocket, by the steps of protocol §4.1
// (connect.go), and hands every other request to the control plane, if the node has
// one (rest.go). A connection that is let in leaves as a [session.Session].
//
// Only this package knows fiber and contrib/websocket. They hold a connection no
// longer than its upgrade: the session owns the socket from then on.
package door
