// Package presence knows who is in which channel, over all nodes (protocol
// §4.3). The truth is in Redis, one hash a channel; a node states what it has
// (Tracker), and whoever wants to know reads a channel whole (Load, List) or
// follows its announcements.
//
// A peer is in a channel while at least one connection of it, on any node, is
// subscribed by name. The script change.lua lets a node's members in and out,
// and announces what that changed for everybody: the first node a peer is on
// makes it join, the last makes it leave. It runs in Redis one at a time, so the
// order of announcements is the order of changes: nobody hears of an old
// connection's end after the newer connection that overtook it.
//
// Each announcement carries a version, one more than the channel's announcement
// before it, so whoever misses one notices.
//
// # Nodes that die
//
// A node holds its members under an identity, which has a lease. When the lease
// runs out any other node takes the identity's members out of Redis (reap.go).
// A node whose connection to Redis was lost, or whose lease is gone although it
// lives, never resumes its identity. It takes a new one, states everything under
// that, and has the former one reaped: nothing of what it said before, and
// nothing of what Redis may have lost or done late, stays behind. Members under
// both identities do not leave meanwhile.
package presence
