// Package ingest delivers messages that wait for groups to connections of this node, and takes
// what their peers say of them (protocol §10.2). Package group (in pkg) keeps the messages in
// Redis, and leases them.
//
// A subscription has a goroutine that leases messages, has the connection write them, and then
// leases more, for as long as the peer has fewer than its maxInFlight. A connection
// that ends gives back at once what it holds, so that other ingesters get it.
package ingest
