package session

import (
	"fleetwire/pkg/channel"
	"fleetwire/pkg/protocol"
)

// handleUnsubscribe acks also what was not subscribed.
func (s *Session) handleUnsubscribe(f *protocol.ClientFrame) *protocol.Error {
	var invalid error
	if channel.IsPattern(f.Channel) {
		_, invalid = channel.Compile(f.Channel)
	} else {
		invalid = channel.ValidateName(f.Channel)
	}
	if invalid != nil {
		return protocol.Errorf(protocol.InvalidChannel, "%v", invalid)
	}
	c := &s.scope
	c.mu.Lock()
	if pattern, ok := c.subscriptions.take(f.Channel); ok {
		s.unsubscribe(f.Channel, pattern)
	}
	c.mu.Unlock()
	s.ack(f.RequestID)
	return nil
}

// unsubscribe undoes the register step of a subscribe. It is called with the scope locked.
func (s *Session) unsubscribe(name string, pattern *channel.Pattern) {
	g := s.Grant()
	if pattern != nil {
		s.opt.Hub.UnsubscribePattern(s, g.App.ID, pattern)
	} else {
		s.opt.Hub.Unsubscribe(s, g.App.ID, name)
	}
	if channel.NamesConnectivity(name) {
		return
	}
	if pattern == nil {
		s.opt.Members.Leave(g.App.ID, name, g.Peer, s.ID())
	}
	s.unwatch(g, name, pattern)
}
