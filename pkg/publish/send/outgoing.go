package send

import (
	"context"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/quota"
)

// Batch is messages of one app, published in order against one counter.
type Batch struct {
	Counter  quota.Counter
	Messages []*Outgoing
	// Rates hold back messages before they are counted. Their buckets lie in the
	// counter's slot.
	Rates []Rate
}

// Rate is the messages of a batch that need a token each of the same bucket. The
// first get what there are.
type Rate struct {
	Bucket   quota.Bucket
	Messages []int // positions in Batch.Messages, in order; no message has two rates
}

// Outgoing is a message on its way, and what became of it.
type Outgoing struct {
	// CountSubscribers asks for Subscribers; it costs Redis a second script.
	CountSubscribers bool

	// Accepted: within its rate and the cap, and published.
	Accepted bool
	// OverRate: there was no token for it. It is not counted.
	OverRate bool
	// OverCap: counted, and dropped.
	OverCap bool
	// Unknown: Redis has not answered, and may or may not have published it. A
	// message of which nothing is said was not published and never will be.
	Unknown bool
	// RetryAfter, of a message over its rate: until there is the next token.
	RetryAfter time.Duration
	// Subscribers is how many connections were subscribed to the channel by name
	// on all nodes. Of a node that has just died it may still be counted in what
	// its lease says, unless no node at all received the message.
	Subscribers int64
	// Found, of a direct message: the peer has a connection on some node.
	Found bool

	kind      envelope.Kind
	app, name string // the channel or the peer
	topic     string
	payload   []byte
	nodes     int64 // how many nodes Redis handed it to
}

// Prepare turns a message into what travels. Everything of the
// message is copied, but for the app's id.
func (sender *Sender) Prepare(m *envelope.Message) *Outgoing {
	kind, name := envelope.KindMessages, m.Channel
	if m.To != "" {
		kind, name = envelope.KindPeer, m.To
	}
	t := sender.keys.Topic(kind, m.App, name)
	return &Outgoing{
		kind: kind, app: m.App, name: t[len(t)-len(name):],
		topic:   t,
		payload: envelope.Encode(envelope.ID{Process: sender.process, Sequence: sender.sequence.Add(1)}, m),
	}
}

// Size is the number of bytes that Redis will be sent for the message.
func (o *Outgoing) Size() int { return len(o.topic) + len(o.payload) }

// Send holds the batches against their rates, counts and publishes them in one
// round trip, and fills in what became of each message. None is published after
// ctx's deadline. If Redis's answer is lost, Send asks for it, for a moment
// longer than the deadline.
// With an error, what is Accepted was published nevertheless: one app's batch can
// fail alone.
func (sender *Sender) Send(ctx context.Context, batches []Batch) error {
	sender.mu.Lock()
	defer sender.mu.Unlock()
	return sender.send(ctx, batches)
}
