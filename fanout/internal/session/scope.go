package session

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/channel"
	"fleetwire/pkg/protocol"
)

// scope is what a connection may do, and what it has subscribed to with that.
// The grant is read at any time; it changes only together with the rest.
type scope struct {
	grant atomic.Pointer[auth.Grant]

	mu            sync.Mutex
	subscriptions subscriptions
	expiry        *time.Timer // closes the connection when the grant expires; nil: not soon
	left          bool        // takes part in nothing any more

	asked, granted uint32 // refreshes: the last that was asked for, and that was granted
}

// Grant is what the connection may do.
func (s *Session) Grant() *auth.Grant { return s.scope.grant.Load() }

// Regrant gives the connection another grant, for the same peer of the same app,
// from now on. What the new one does not cover is unsubscribed, and returned in
// order. If that takes too long to find out, it is refused and changes nothing.
func (s *Session) Regrant(g *auth.Grant) (unsubscribed []string, refused *protocol.Error) {
	s.scope.mu.Lock()
	defer s.scope.mu.Unlock()
	return s.tryRegrant(g)
}

// regrantInTurn is Regrant for the refresh with this number. Once a later one was
// granted, it does nothing.
func (s *Session) regrantInTurn(g *auth.Grant, number uint32) (unsubscribed []string, refused *protocol.Error) {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	if number < c.granted {
		return nil, nil
	}
	if unsubscribed, refused = s.tryRegrant(g); refused == nil {
		c.granted = number
	}
	return unsubscribed, refused
}

// tryRegrant is Regrant with the scope locked.
func (s *Session) tryRegrant(g *auth.Grant) (unsubscribed []string, refused *protocol.Error) {
	c := &s.scope
	if c.left {
		return nil, nil
	}
	lost, decided := c.uncovered(g)
	if !decided {
		return nil, protocol.Errorf(protocol.InvalidToken,
			"the connection's subscriptions take too long to check against the token; claim fewer patterns, or fewer wildcards in each")
	}
	return s.regrant(g, lost), nil
}

// uncovered returns which subscriptions the grant does not cover. If that takes
// too long to find out, it says so, and returns those as well that it did not
// come to.
func (c *scope) uncovered(g *auth.Grant) (lost map[string]bool, decided bool) {
	effort := channel.MaxEffort
	for _, one := range c.subscriptions {
		if !g.Still(apps.ActionSubscribe, one.name, one.pattern, &effort) {
			if lost == nil {
				lost = map[string]bool{}
			}
			lost[one.name] = true
		}
	}
	return lost, !effort.IsExhausted()
}

// regrant gives the connection another grant and ends the lost subscriptions, with
// the scope locked.
func (s *Session) regrant(g *auth.Grant, lost map[string]bool) (unsubscribed []string) {
	c := &s.scope
	old := s.Grant()
	c.grant.Store(g)
	s.awaitExpiry(g)
	for _, one := range slices.Clone(c.subscriptions) {
		if lost[one.name] {
			c.subscriptions.take(one.name)
			s.unsubscribe(one.name, one.pattern)
			unsubscribed = append(unsubscribed, one.name)
		} else {
			s.regrantPresence(old, g, one.name, one.pattern)
		}
	}
	slices.Sort(unsubscribed)
	return unsubscribed
}

// soon is how long before a grant expires there is a timer for it: until two
// KeepAlives could have seen to it. A timer for each connection all the time would
// be a good part of what an idle one costs.
const soon = 2 * protocol.PingInterval

// awaitExpiry closes the connection shortly before the grant expires (protocol
// §4.5), if it still has it then. While that is not soon, it is left to be called
// again. It is called with the scope locked.
func (s *Session) awaitExpiry(g *auth.Grant) {
	c := &s.scope
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	left := g.ExpiresAt.Add(-protocol.ExpiryLead).Sub(s.opt.Now())
	if g.ExpiresAt.IsZero() || left > soon {
		return
	}
	c.expiry = time.AfterFunc(left, func() {
		if s.Grant() == g {
			s.Close(protocol.Closef(protocol.CloseExpired, ""))
		}
	})
}

// keepExpiry calls awaitExpiry when the time for that has come.
func (s *Session) keepExpiry() {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expiry == nil && !c.left {
		s.awaitExpiry(s.Grant())
	}
}

// leave gives up all subscriptions, and the peer.
func (s *Session) leave() {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return
	}
	c.left = true
	if c.expiry != nil {
		c.expiry.Stop()
	}
	for _, one := range c.subscriptions {
		s.unsubscribe(one.name, one.pattern)
	}
	c.subscriptions = nil
	g := s.Grant()
	s.opt.Hub.RemovePeer(s, g.App.ID, g.Peer)
}
