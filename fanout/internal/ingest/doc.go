// Package ingest delivers messages that wait for groups to connections of this node, and takes
// what their peers say of them (protocol §10.2). Package group (in pkg) keeps the messages in
// Redis, and leases them.
//
// A subscription has a goroutine that leases messages, has the connection write them, and then
// leases more, for as long as the peer has fewer than its maxInFlight. What a connection holds
// when it ends is given back at once, so that other ingesters get it.
package ingest
