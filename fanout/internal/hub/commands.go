package hub

import "fleetwire/pkg/envelope"

// Commands has f called with what the receiver brings of commands (protocol §8), by the
// goroutine that calls Broadcast; but for what subscribers by wildcard alone see of them. Set
// it before the first Broadcast.
func (h *Hub) Commands(f func(envelope.Delivery)) { h.commands = f }

// isForCommands says whether a delivery is of a command, and not only what those see of it
// that are subscribed by wildcard alone.
func isForCommands(d *envelope.Delivery) bool {
	return isForCommandsAlone(d) || d.Command != nil && d.Command.AtCreation
}

// isForCommandsAlone says whether a delivery is of a command, and nothing of it is for
// subscribers by wildcard.
func isForCommandsAlone(d *envelope.Delivery) bool {
	return d.Command != nil && d.Command.Stage != envelope.CommandHandedOver
}

// Named is a subscriber of a channel by name.
type Named struct {
	Subscriber Subscriber
	Options
	order uint32
}

// Since says whether n has subscribed later than m, or anew.
func (n *Named) Since(m *Named) bool { return int32(n.order-m.order) > 0 }

// Named returns the subscribers of a channel by name.
func (h *Hub) Named(app, name string) []Named {
	h.mu.RLock()
	defer h.mu.RUnlock()
	a := h.names[nameKey{envelope.KindMessages, app, name}]
	if a == nil {
		return nil
	}
	named := make([]Named, len(a.members))
	for i := range a.members {
		m := &a.members[i]
		named[i] = Named{m.subscriber, m.Options, m.order}
	}
	return named
}

// NamedBy returns what a connection has subscribed to a channel by name as, if it has.
func (h *Hub) NamedBy(connection uint64, app, name string) (Subscriber, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	a := h.names[nameKey{envelope.KindMessages, app, name}]
	if a == nil {
		return nil, false
	}
	i := a.findID(connection)
	if i < 0 {
		return nil, false
	}
	return a.members[i].subscriber, true
}

// ChannelName is a channel of an app.
type ChannelName struct{ App, Name string }

// Channels returns the channels that have subscribers by name.
func (h *Hub) Channels() []ChannelName {
	h.mu.RLock()
	defer h.mu.RUnlock()
	channels := make([]ChannelName, 0, len(h.names))
	for key := range h.names {
		if key.kind == envelope.KindMessages {
			channels = append(channels, ChannelName{key.app, key.name})
		}
	}
	return channels
}

// Replace puts another Subscriber of the same connection in the place of was, if that
// is still there.
func (h *Hub) Replace(was, by Subscriber, app, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.names[nameKey{envelope.KindMessages, app, name}]
	if a == nil {
		return
	}
	if i := a.find(was); i >= 0 && a.members[i].subscriber == was {
		a.members[i].subscriber = by
	}
}
