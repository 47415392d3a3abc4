package session

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/ingest"
	"fleetwire/pkg/auth"
)

// scope is what a connection may do, and what it has subscribed to with that.
// The grant is read at any time; it changes only together with the rest.
type scope struct {
	grant atomic.Pointer[auth.Grant]

	mu            sync.Mutex
	subscriptions subscriptions
	expiry        *time.Timer // closes the connection when the grant expires; nil: not soon
	left          bool        // takes part in nothing any more

	ingester atomic.Pointer[ingest.Ingester] // nil: it has not subscribed to a group

	asked, granted uint32 // refreshes: the last that was asked for, and that was granted
}

// Grant is what the connection may do.
func (s *Session) Grant() *auth.Grant { return s.scope.grant.Load() }

// regrantInOrder gives the connection another grant, for the same peer of the same app,
// for the refresh with this number. Once a later one was granted, it does nothing.
// Subscriptions that the new grant does not cover end, and are returned in order. If that takes too
// long to find out, it is refused and changes nothing.
func (s *Session) regrantInOrder(g *auth.Grant, number uint32) (unsubscribed []string, refused *protocol.Error) {
	c := &s.scope
	v := newCoverage(g)
	for c.mu.Lock(); !v.complete(c.subscriptions); c.mu.Lock() {
		c.mu.Unlock()
		v.check()
	}
	defer c.mu.Unlock()
	switch {
	case number < c.granted || c.left:
		return nil, nil
	case v.effort.IsExhausted():
		return nil, protocol.Errorf(protocol.InvalidToken,
			"the connection's subscriptions take too long to check against the token; claim fewer patterns, or fewer wildcards in each")
	}
	c.granted = number
	unsubscribed = s.regrant(v)
	s.renewWill(g)
	return unsubscribed, nil
}

// regrant gives the connection another grant and ends the subscriptions that it does
// not cover, with the scope locked and the coverage complete.
func (s *Session) regrant(v *coverage) (unsubscribed []string) {
	c := &s.scope
	old, g := s.Grant(), v.grant
	c.grant.Store(g)
	if !bytes.Equal(old.PeerMetadata, g.PeerMetadata) {
		s.opt.Changed(s)
	}
	s.awaitExpiry(g)
	for _, one := range slices.Clone(c.subscriptions) {
		if !v.covers[one.name] {
			c.subscriptions.take(one.name)
			s.unsubscribe(one)
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
		s.unsubscribe(one)
	}
	c.subscriptions = nil
	if i := c.ingester.Load(); i != nil {
		i.Leave()
	}
	g := s.Grant()
	s.opt.Hub.RemovePeer(direct{s}, g.App.ID, g.Peer)
	s.opt.Commands.Left(s.ID())
}
