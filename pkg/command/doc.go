// Package command keeps commands in Redis: messages whose receivers answer (protocol
// §8). It decides everything about them there, in one script for each of create,
// claim, answer, end and take back, by Redis's clock. No process holds state of a
// command.
//
// All keys of a channel's commands lie in the bucket of the channel (pkg/rediskeys),
// and an id names the bucket: cmd_, the tag of the bucket, and 128 random bits. The
// app is that of the credential, so an id of another app is unknown.
//
// # The way of a command
//
// Create stores the command and publishes a delivery on the topic of the channel's
// messages: a [Delivery] in an envelope of pkg/envelope. It does so only if peers are
// subscribed by name.
//
// Each node that gets the delivery calls Claim for its peers that are subscribed by
// name. Redis records the hand-over, and then the node writes the frame: so it is
// written at most once. The reply has the attempt and the time that is left of the
// TTL; the node does not write what it could not write within that. When a peer
// subscribes, the node claims what waits for it: a Claim without an ID.
//
// If all peers in the channel are connected to the node that creates the command, Create hands it
// to them in the same step (New.Peers). Then there is one envelope: it tells that node to write
// the frame, and carries the message for subscribers by wildcard alone.
//
// Otherwise the first hand-over publishes a second envelope on the same topic. It carries the
// same message for subscribers by wildcard alone.
//
// Answer takes what peers say. The answer that ends the command wakes the processes
// that wait for it ([Waits]); the one that takes it hears so with the answer to its call.
//
// For a subscriber that confirms, the claim names the identity of the node (the one
// under which the node has a lease, pkg members). When the connection ends, the node
// calls TakeBack; when the node dies, the node that reaps its identity calls Reap for
// each of its buckets.
//
// # Deadlines
//
// Each script first sees to what has fallen due of the commands that it touches. So a
// read after a deadline shows the end, though nobody has seen to it yet. Due is the
// handler of the deadlines of commands (pkg/deadline): it sees to what nobody touches.
//
// # What a script costs
//
// Scripts of a bucket share a round trip with whatever else is sent at the same time
// (pkg/redisconn). Claim takes many peers of one command, Answer many answers of one
// bucket in one script.
package command
