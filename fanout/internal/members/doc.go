// Package members tells Redis which peers are in which channels on this node
// (protocol §4.3), and removes what dead nodes have left there. Readers of that
// state use pkg/presence.
//
// The script change.lua adds and removes a node's members, and announces what that
// changes over all nodes: a peer joins with the first node that it is on, and
// leaves with the last. Redis runs one script at a time, so no reader hears of the
// end of an old connection after the newer connection that overtook it.
//
// # Nodes that die
//
// A node holds its members under an identity, which has a lease. When the lease
// has expired, any other node removes the identity's members from Redis (reap.go).
// A node that lost its connection to Redis, or its lease, never resumes its
// identity. It takes a new one, states all its members under that, and removes the
// former one. So nothing stays behind of what it said before, and of what Redis
// lost or did late. Members under both identities do not leave meanwhile.
package members
