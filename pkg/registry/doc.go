// Package registry knows the peers of each app: who is online, since when, and how it
// was lost (protocol §5, GET /v1/peers).
//
// A peer's record lies in its bucket (record.lua). Each connect takes the peer's next
// epoch there, and adds the connection to the record; when it ends, it is taken out.
// When the last one has, a deadline begins: the grace. A peer that is back by then was
// never offline; else one script, which checks that it is not back, says that it is.
//
// A node has a Recorder, which sends what begins and ends to Redis, many at a time and
// in order. No connection waits for it. What a node holds is under its identity of
// fanout/internal/members, with one lease for everything: when that expires, another
// node takes out what is left. A node that takes another identity states its
// connections again.
//
// A Reader lists peers, for REST.
package registry
