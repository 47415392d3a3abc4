package session

import "fleetwire/clients/go/channel"

// askState has the connection sent what is now, if the name is the channel of one peer's
// connectivity. It travels on that channel too, so no older state comes behind a newer.
func (s *Session) askState(name string) {
	if peer, ok := channel.ConnectivityPeer(name); ok {
		s.opt.State(s, peer)
	}
}

// Restored has the connection sent what it may have missed in an outage: the states of the
// peers that it watches, and what channels remember.
func (s *Session) Restored() {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.subscriptions {
		if one.pattern == nil {
			s.askState(one.name)
		}
		if one.follower != nil {
			one.follower.restored()
		}
	}
}
