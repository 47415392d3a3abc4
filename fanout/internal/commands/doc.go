// Package commands hands commands to the peers of this node, and takes their answers
// (protocol §8). Package command (in pkg) keeps them in Redis; this package decides which
// connection gets what, and when.
//
// One goroutine (Run) owns all state, and makes the trips to Redis. Callers leave it
// events, and never wait: events that come while a trip is under way share the next one. A
// second goroutine takes the answers, in the same way.
//
// # Who gets a command
//
// The receiver brings a command to each node that has subscribers of its channel. The
// node claims it for the peers that are subscribed by name, all in one script. Of a
// peer's connections on the node, the one that subscribed to the channel last gets it; of
// several nodes, the first that claims. Redis has
// recorded the hand-over before the frame is queued. A frame whose TTL ends while it is
// queued is dropped (conn.Portion).
//
// If this node creates a command (Create), and all who are in the channel are its peers, Redis hands it
// to them in the same step. The node writes it when the message of that comes, and so in the order in which
// Redis has taken what is published to the channel.
//
// # Lines
//
// Mostly there is nothing to remember of a subscription. If there is, it has a line:
//
//   - It is new. Commands that wait for the peer in Redis come first, portion by portion as the
//     connection takes it, and then the live messages, which the session holds.
//   - It confirms, and has a command that the peer has not confirmed yet. Others wait.
//     When the connection ends, the hand-over is taken back.
//   - The peer has unsubscribed and subscribed again while a claim was on its way. The line keeps
//     the commands of that claim, and writes them behind the ack of the new subscribe.
//   - Redis did not answer. The line asks again a second later.
package commands
