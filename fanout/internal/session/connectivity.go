package session

import "fleetwire/pkg/channel"

// askState has the connection sent what is now, if the name is the channel of one peer's
// connectivity. It travels on that channel too, so no older state comes behind a newer.
func (s *Session) askState(name string) {
	if peer, ok := channel.ConnectivityPeer(name); ok {
		s.opt.State(s, peer)
	}
}

// AskStates does so for every such channel that the connection is subscribed to: what
// was published there may be lost.
func (s *Session) AskStates() {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.subscriptions {
		if one.pattern == nil {
			s.askState(one.name)
		}
	}
}
