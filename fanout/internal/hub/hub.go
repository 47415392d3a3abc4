// Package hub knows which connections of this node are subscribed to what and
// which peer they are, and hands each message to all whom it concerns. It tells
// the broker what the node wants to receive: a channel while it has a subscriber,
// a pattern while it has one, a peer while it has a connection.
package hub

import (
	"sync"
	"sync/atomic"

	"fleetwire/pkg/broker"
	"fleetwire/pkg/channel"
	"fleetwire/pkg/protocol"
)

// Subscriber is a connection of this node.
type Subscriber interface {
	// ID is the connection's id, never 0, unique in this process.
	ID() uint64
	// Append queues a shared, immutable frame, unless the subscriber was given
	// one with this sequence already: overlapping subscriptions deliver a message
	// once. queued says that it did; flush, that the subscriber now needs a Flush
	// which no earlier Append asked for. It never blocks.
	Append(frame []byte, sequence uint64) (queued, flush bool)
	// Flush writes what is queued, as far as that goes without blocking.
	Flush()
	// Close closes the connection, and says whether it was open until then. It
	// never blocks.
	Close(*protocol.CloseError) bool
}

// Interest is where the hub says what it wants to receive: the broker.
type Interest interface {
	SetSubscribers(app, channelName string, n int, done func(error)) error
	SetConnections(app, peer string, n int, done func(error)) error
	AddPattern(app string, p *channel.Pattern, done func(error)) error
	RemovePattern(app string, p *channel.Pattern)
	PublishedBy(*broker.Delivery) uint64
	Disconnected(order *broker.Delivery, closed int)
}

// Hub is safe for concurrent use.
type Hub struct {
	interest Interest

	mu       sync.RWMutex
	names    map[nameKey]*audience
	patterns map[string][]*patternAudience // by app

	// Owned by the goroutine that calls Broadcast.
	sequence uint64
	dirty    []Subscriber

	delivered atomic.Uint64
}

// nameKey names a channel (KindMessages) or a peer (KindPeer).
type nameKey struct {
	kind      broker.Kind
	app, name string
}

// audience is the subscribers of one channel or pattern, or a peer's connections.
type audience struct{ members []member }

type member struct {
	subscriber Subscriber
	id         uint64
	metadata   bool // wants the sender's metadata
}

type patternAudience struct {
	pattern *channel.Pattern
	audience
}

// New returns a Hub that says to interest what it wants.
func New(interest Interest) *Hub {
	return &Hub{
		interest: interest,
		names:    map[nameKey]*audience{},
		patterns: map[string][]*patternAudience{},
	}
}

// Subscribe subscribes s to the channel by name, or takes the new option if it
// is subscribed already. done is called when the subscription is live in Redis,
// or with an error when it could not be: then Unsubscribe undoes it. If
// Subscribe itself returns an error nothing has changed and done is not called.
func (h *Hub) Subscribe(s Subscriber, app, name string, metadata bool, done func(error)) error {
	return h.join(s, nameKey{broker.KindMessages, app, name}, h.interest.SetSubscribers, metadata, done)
}

// AddPeer makes s known as a connection of the peer, so that it gets direct
// messages and can be closed by its name. done and the error are as in
// Subscribe; RemovePeer undoes it.
func (h *Hub) AddPeer(s Subscriber, app, peer string, done func(error)) error {
	return h.join(s, nameKey{broker.KindPeer, app, peer}, h.interest.SetConnections, true, done)
}

// stateCount tells the broker how many members an audience has.
type stateCount func(app, name string, n int, done func(error)) error

func (h *Hub) join(s Subscriber, key nameKey, state stateCount, metadata bool, done func(error)) error {
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
	a.put(s, metadata)
	return nil
}

// Unsubscribe undoes Subscribe. It is no error if s is not subscribed.
func (h *Hub) Unsubscribe(s Subscriber, app, name string) {
	h.part(s, nameKey{broker.KindMessages, app, name}, h.interest.SetSubscribers)
}

// RemovePeer undoes AddPeer. It is no error if s is not known as the peer.
func (h *Hub) RemovePeer(s Subscriber, app, peer string) {
	h.part(s, nameKey{broker.KindPeer, app, peer}, h.interest.SetConnections)
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
	a := h.findPattern(app, p)
	if a != nil && a.find(s) >= 0 {
		h.interest.RemovePattern(app, p) // a subscriber counts once; done waits all the same
	}
	if a == nil {
		a = &patternAudience{pattern: p}
		h.patterns[app] = append(h.patterns[app], a)
	}
	a.put(s, metadata)
	return nil
}

// UnsubscribePattern undoes SubscribePattern.
func (h *Hub) UnsubscribePattern(s Subscriber, app string, p *channel.Pattern) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.findPattern(app, p)
	if a == nil || !a.remove(s) {
		return
	}
	h.interest.RemovePattern(app, p)
	if len(a.members) > 0 {
		return
	}
	all := h.patterns[app]
	for i := range all {
		if all[i] == a {
			all[i] = all[len(all)-1]
			all[len(all)-1] = nil
			h.patterns[app] = all[:len(all)-1]
			break
		}
	}
	if len(h.patterns[app]) == 0 {
		delete(h.patterns, app)
	}
}

func (h *Hub) findPattern(app string, p *channel.Pattern) *patternAudience {
	for _, a := range h.patterns[app] {
		if a.pattern.String() == p.String() {
			return a
		}
	}
	return nil
}

func (a *audience) find(s Subscriber) int {
	id := s.ID()
	for i := range a.members {
		if a.members[i].id == id {
			return i
		}
	}
	return -1
}

func (a *audience) put(s Subscriber, metadata bool) {
	if i := a.find(s); i >= 0 {
		a.members[i].metadata = metadata
		return
	}
	a.members = append(a.members, member{s, s.ID(), metadata})
}

func (a *audience) remove(s Subscriber) bool {
	i := a.find(s)
	if i < 0 {
		return false
	}
	last := len(a.members) - 1
	a.members[i] = a.members[last]
	a.members[last] = member{}
	a.members = a.members[:last]
	return true
}

// Delivered is how many messages have been handed to connections.
func (h *Hub) Delivered() uint64 { return h.delivered.Load() }
