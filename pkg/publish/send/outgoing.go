package send

import (
	"context"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/history"
	"fleetwire/pkg/quota"
)

// Batch is messages of one app, published in order against one counter.
type Batch struct {
	Counter  quota.Counter
	App      *apps.App // of messages that are remembered, or have a key or a condition
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

	// IdempotencyKey and Fingerprint, of what the caller asks for: a message with the
	// key of another one of its channel is not published. "": none.
	IdempotencyKey, Fingerprint string
	// IfOffset has the message published only if the channel's newest message has this
	// offset and, unless IfEpoch is "", this epoch. The channel remembers.
	IfOffset *uint64
	IfEpoch  string
	// Groups are those that the message waits for, until an ingester of each acknowledges it.
	Groups []*apps.Group

	// ID is what the message is known by on all nodes.
	ID envelope.ID

	// Accepted: within its rate and the cap, and published.
	Accepted bool
	// OverRate: there was no token for it. It is not counted.
	OverRate bool
	// OverCap: counted, and dropped.
	OverCap bool
	// Full: one of Groups had no room for it. It is not counted.
	Full bool
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
	// Position is that of the message, in a channel that remembers, else empty; with
	// Mismatch that of the channel's newest message.
	Position protocol.Position
	// Repeated: the message with the same key was published before, with this Position and
	// these Subscribers. This one was not, and is not counted. Nor is it with the next two.
	Repeated bool
	// Conflict: the key was used with another fingerprint.
	Conflict bool
	// Mismatch: the channel's newest message is not the one of IfOffset. Current is that
	// message, unless it is forgotten, or Redis's answer was lost at first.
	Mismatch bool
	Current  *history.Message

	admitted  bool // by the rates and the cap, and to be published, on a Redis Cluster
	kind      envelope.Kind
	app, name string // the channel or the peer
	topic     string
	payload   []byte // an envelope, or a record if the channel remembers
	nodes     int64  // how many nodes Redis handed it to
	rule      *apps.HistoryRule

	ruled, inRuled int // of the channels of a batch, those from 0 (appendSpecial)
}

// Prepare turns a message into what travels. Everything of the
// message is copied, but for the app's id.
func (sender *Sender) Prepare(m *envelope.Message) *Outgoing {
	o := sender.outgoing(m)
	o.payload = envelope.Encode(o.ID, m)
	return o
}

// PrepareRemembered is Prepare for a message to a channel that remembers, by the rule.
func (sender *Sender) PrepareRemembered(m *envelope.Message, rule *apps.HistoryRule) *Outgoing {
	o := sender.outgoing(m)
	o.payload, o.rule = envelope.EncodeRecord(o.ID, m), rule
	return o
}

func (sender *Sender) outgoing(m *envelope.Message) *Outgoing {
	kind, name := envelope.KindMessages, m.Channel
	if m.To != "" {
		kind, name = envelope.KindPeer, m.To
	}
	t := sender.keys.Topic(kind, m.App, name)
	return &Outgoing{
		ID:   envelope.ID{Process: sender.process, Sequence: envelope.Number(sender.sequence.Add(1), time.Now)},
		kind: kind, app: m.App, name: t[len(t)-len(name):], topic: t,
	}
}

// Size is the number of bytes that Redis will be sent for the message.
func (o *Outgoing) Size() int { return len(o.topic) + len(o.payload) }

// Send holds the batches against their rates, counts and publishes them in one
// round trip (on a Redis Cluster in two), and fills in what became of each message.
// None is published after ctx's deadline. If Redis's answer is lost, Send asks for it, for a moment
// longer than the deadline.
// With an error, what is Accepted was published nevertheless: one app's batch can
// fail alone.
func (sender *Sender) Send(ctx context.Context, batches []Batch) error {
	sender.mu.Lock()
	defer sender.mu.Unlock()
	return sender.send(ctx, batches)
}
