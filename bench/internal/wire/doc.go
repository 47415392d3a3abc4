// Package wire speaks the protocols of the measured systems as bytes: what a
// connection says until its subscriptions are live, and messages ready to be
// written. One load generator serves them all with it, so that none pays for a
// slower client library.
package wire

// A Step is one turn of a connection's opening: Send goes out (nothing, if it is
// empty), and the step is over when Expect has come in the payload of frames.
type Step struct {
	Send   []byte
	Expect string
}

// Opening is how a connection begins.
type Opening struct {
	Upgrade []byte // the HTTP request
	Steps   []Step // then, until the subscriptions are live
	// Took, if not nil, gets what has come by the end of the last step. It must not keep it.
	Took func(payload []byte)
}

// A Dialect is one system's protocol. Channels and patterns are named as in
// Fleetwire, with / between levels and * for any one of them; each dialect
// translates.
type Dialect interface {
	// Open is the opening of the connection of the named device, which is going
	// to publish to and is subscribed to these channels or patterns.
	Open(device string, publishes, subscribes []string) Opening
	// Publish is a message to the channel, whose data is body (see Body).
	Publish(channel string, body []byte) *Message
	// Refusal is text that only a frame with an error contains.
	Refusal() string
}

// A Backend is a dialect of a system that has an HTTP API.
type Backend interface {
	Dialect
	// REST is the request that publishes body to the channel, on a connection that
	// is kept open.
	REST(channel string, body []byte) *Message
}

// A Keeper is a dialect of a system that keeps messages until an ingester has acknowledged them.
type Keeper interface {
	Dialect
	// Ingest is the opening of a connection that is sent what waits for a group, of channels of
	// this pattern.
	Ingest(device, pattern, group string) Opening
	// Acks makes a function that acknowledges, with its results, what comes in the frames of
	// such a connection.
	Acks(group string) func(payload []byte) []byte
}
