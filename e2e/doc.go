// Package e2e is tests alone: the whole service, met the way a device or a
// backend meets it. Each test starts one or two nodes with their control plane
// (localdev/stack) on free ports, on the embedded Redis and on a real
// redis-server, and talks to them over real sockets with a WebSocket
// implementation that is not the service's own.
//
// A test that has to show that something does not arrive sends a marker after
// it, on the same road: when the marker is the next frame, nothing was in
// between.
package e2e
