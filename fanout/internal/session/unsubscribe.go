package session

import (
	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
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
	if one, ok := c.subscriptions.take(f.Channel); ok {
		s.unsubscribe(one)
	}
	c.mu.Unlock()
	s.ack(f.RequestID)
	return nil
}

// unsubscribe undoes the register step of a subscribe. It is called with the scope locked.
func (s *Session) unsubscribe(one subscription) {
	g, name := s.Grant(), one.name
	one.standing.ended.Store(true)
	if one.follower != nil {
		one.follower.stop()
	}
	if one.pattern != nil {
		s.opt.Hub.UnsubscribePattern(s, g.App.ID, one.pattern)
	} else {
		s.opt.Hub.Unsubscribe(s, g.App.ID, name)
	}
	if channel.NamesConnectivity(name) {
		return
	}
	if one.pattern == nil {
		s.opt.Members.Leave(g.App.ID, name, g.Peer, s.ID())
	}
	s.unwatch(g, name, one.pattern)
}
