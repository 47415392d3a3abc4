// Package hub knows which connections of this node are subscribed to what and
// which peer they are, and hands each message to all whom it concerns. It tells
// the receiver what the node wants to receive: a channel while it has a subscriber,
// a pattern while it has one, a peer while it has a connection.
//
// Messages are handed on in parts (Broadcast), so that apps can take turns and none
// waits for the thousand connections of another.
package hub

import (
	"sync"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/tally"
	"fleetwire/pkg/envelope"
)

// Subscriber is a connection of this node. A connection may be a Subscriber of its own
// in each channel, and as its peer: all of them have the same ID and share a queue.
type Subscriber interface {
	// ID is the connection's id, never 0, unique in this process.
	ID() uint64
	// Append queues a shared, immutable frame, unless the subscriber was given
	// one with this sequence already: overlapping subscriptions deliver a message
	// once. queued says that it did; flush, that the subscriber now needs a Flush
	// which no earlier Append asked for. A frame that has to wait for something else
	// counts as queued, and needs no Flush. It never blocks.
	Append(frame []byte, sequence uint64) (queued, flush bool)
	// Flush writes what is queued, as far as that goes without blocking.
	Flush()
	// Close closes the connection, and says whether it was open until then. It
	// never blocks.
	Close(*protocol.CloseError) bool
}

// Follower is a Subscriber by name that is told where in the channel's history a message
// is, and may drop or delay it (protocol §9). frame is nil if the subscriber's connection
// has published it. The rest is as in Append.
type Follower interface {
	Subscriber
	AppendAt(frame []byte, sequence uint64, at protocol.Position) (queued, flush bool)
}

// Interest is where the hub says what it wants to receive: the receiver.
type Interest interface {
	SetSubscribers(app, channelName string, n int, done func(error)) error
	SetConnections(app, peer string, n int, done func(error)) error
	AddPattern(app string, p *channel.Pattern, done func(error)) error
	RemovePattern(app string, p *channel.Pattern)
}

// Hub is safe for concurrent use.
type Hub struct {
	interest Interest
	precede  func([]envelope.Delivery)
	commands func(envelope.Delivery)
	observer Observer // or nil

	mu       sync.RWMutex
	names    map[nameKey]*audience
	patterns map[string]*patterns // by app
	order    uint32               // of the last subscription

	// Owned by the goroutine that calls Broadcast.
	sequence uint64
	matching []*patternAudience   // of the run that is being delivered
	underWay map[string]*progress // by app
	spare    *progress            // for the next
	counted  *tally.App           // the counters of the app that was delivered to last

	tally *tally.Tally
}

// nameKey names a channel (KindMessages) or a peer (KindPeer).
type nameKey struct {
	kind      envelope.Kind
	app, name string
}

// Options are what a subscriber wants of a channel.
type Options struct {
	Metadata bool // the sender's metadata
	Confirms bool // it confirms commands (protocol §8)
}

// New returns a Hub that says to interest what it wants.
func New(interest Interest) *Hub {
	return &Hub{
		interest: interest,
		tally:    new(tally.Tally),
		names:    map[nameKey]*audience{},
		patterns: map[string]*patterns{},
		underWay: map[string]*progress{},
		commands: func(envelope.Delivery) {},
	}
}

// Count has the hub count what it hands to connections. Set it before the first Broadcast.
func (h *Hub) Count(counters *tally.Tally) { h.tally = counters }

// Delivered is how many messages have been handed to connections.
func (h *Hub) Delivered() uint64 { return h.tally.Deliveries() }

// Precede has f called with direct messages before their peers get them, by the
// goroutine that calls Broadcast. Set it before the first Broadcast.
func (h *Hub) Precede(f func(direct []envelope.Delivery)) { h.precede = f }

// Subscribe subscribes s to the channel by name, or takes the new Subscriber and options
// if its connection is subscribed already. done is called when the subscription is live in Redis,
// or with an error when it could not be: then Unsubscribe undoes it. If
// Subscribe itself returns an error nothing has changed and done is not called.
func (h *Hub) Subscribe(s Subscriber, app, name string, opt Options, done func(error)) error {
	return h.join(s, nameKey{envelope.KindMessages, app, name}, h.interest.SetSubscribers, opt, done)
}

// AddPeer makes s known as a connection of the peer, so that it gets direct
// messages and can be closed by its name. done and the error are as in
// Subscribe; RemovePeer undoes it.
func (h *Hub) AddPeer(s Subscriber, app, peer string, done func(error)) error {
	return h.join(s, nameKey{envelope.KindPeer, app, peer}, h.interest.SetConnections, Options{Metadata: true}, done)
}

// Disconnect closes the peer's connections, and returns how many those were.
func (h *Hub) Disconnect(app, peer string) (closed int) {
	for _, c := range h.Peer(app, peer) {
		if c.Close(protocol.Closef(protocol.CloseDisconnected, "")) {
			closed++
		}
	}
	return closed
}

// Peer returns the peer's connections on this node.
func (h *Hub) Peer(app, peer string) []Subscriber {
	h.mu.RLock()
	defer h.mu.RUnlock()
	a := h.names[nameKey{envelope.KindPeer, app, peer}]
	if a == nil {
		return nil
	}
	connections := make([]Subscriber, len(a.members))
	for i, m := range a.members {
		connections[i] = m.subscriber
	}
	return connections
}

// stateCount tells the receiver how many members an audience has.
type stateCount func(app, name string, n int, done func(error)) error

func (h *Hub) join(s Subscriber, key nameKey, state stateCount, opt Options, done func(error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.names[key]
	if a == nil {
		a = &audience{}
	}
	n := len(a.members)
	if a.find(s) < 0 {
		n++
	}
	if err := state(key.app, key.name, n, done); err != nil {
		return err
	}
	h.names[key] = a
	h.order++
	a.put(s, opt, h.order)
	return nil
}

// Unsubscribe undoes Subscribe. It is no error if s is not subscribed.
func (h *Hub) Unsubscribe(s Subscriber, app, name string) {
	h.part(s, nameKey{envelope.KindMessages, app, name}, h.interest.SetSubscribers)
}

// RemovePeer undoes AddPeer. It is no error if s is not known as the peer.
func (h *Hub) RemovePeer(s Subscriber, app, peer string) {
	h.part(s, nameKey{envelope.KindPeer, app, peer}, h.interest.SetConnections)
}

func (h *Hub) part(s Subscriber, key nameKey, state stateCount) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.names[key]
	if a == nil || !a.remove(s) {
		return
	}
	_ = state(key.app, key.name, len(a.members), nil)
	if len(a.members) == 0 {
		delete(h.names, key)
	}
}

// SubscribePattern subscribes s to every channel that the pattern matches. The
// rest is as in Subscribe.
func (h *Hub) SubscribePattern(s Subscriber, app string, p *channel.Pattern, metadata bool, done func(error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.interest.AddPattern(app, p, done); err != nil {
		return err
	}
	all := h.patterns[app]
	if all == nil {
		all = newPatterns()
		h.patterns[app] = all
	}
	a := all.find(p)
	if a != nil && a.find(s) >= 0 {
		h.interest.RemovePattern(app, p) // a subscriber counts once; done waits all the same
	}
	if a == nil {
		a = all.add(p)
	}
	a.put(s, Options{Metadata: metadata}, 0)
	return nil
}

// UnsubscribePattern undoes SubscribePattern.
func (h *Hub) UnsubscribePattern(s Subscriber, app string, p *channel.Pattern) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.patterns[app]
	if all == nil {
		return
	}
	a := all.find(p)
	if a == nil || !a.remove(s) {
		return
	}
	h.interest.RemovePattern(app, p)
	if len(a.members) > 0 {
		return
	}
	all.remove(a)
	if len(all.all) == 0 {
		delete(h.patterns, app)
	}
}
