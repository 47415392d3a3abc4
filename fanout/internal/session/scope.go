package session

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/pkg/auth"
	"fleetwire/pkg/channel"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/revocation"
)

// scope is what a connection may do, and what it has subscribed to with that.
// The grant is read at any time; it changes only together with the rest.
type scope struct {
	grant atomic.Pointer[auth.Grant]

	mu            sync.Mutex
	subscriptions map[string]*channel.Pattern // channel or pattern as asked for; nil: a channel
	expiry        *time.Timer                 // closes the connection when the grant expires; nil: it does not
	left          bool                        // takes part in nothing any more
}

// Grant is what the connection may do.
func (s *Session) Grant() *auth.Grant { return s.scope.grant.Load() }

// Regrant gives the connection another grant, for the same peer of the same app,
// from now on. What the new one does not cover is unsubscribed, and returned in
// order.
func (s *Session) Regrant(g *auth.Grant) (unsubscribed []string) {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return nil
	}
	return s.regrant(g)
}

// regrant is Regrant with the scope locked.
func (s *Session) regrant(g *auth.Grant) (unsubscribed []string) {
	c := &s.scope
	old := s.Grant()
	c.grant.Store(g)
	s.awaitExpiry(g)
	for name, pattern := range c.subscriptions {
		if !maySubscribe(g, name, pattern) {
			delete(c.subscriptions, name)
			s.unsubscribe(name, pattern)
			unsubscribed = append(unsubscribed, name)
		} else {
			s.regrantPresence(old, g, name, pattern)
		}
	}
	slices.Sort(unsubscribed)
	return unsubscribed
}

// awaitExpiry closes the connection shortly before the grant expires (protocol
// §4.5), if it still has it then. It is called with the scope locked.
func (s *Session) awaitExpiry(g *auth.Grant) {
	c := &s.scope
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if g.ExpiresAt.IsZero() {
		return
	}
	c.expiry = time.AfterFunc(g.ExpiresAt.Add(-protocol.ExpiryLead).Sub(s.opt.Now()), func() {
		if s.Grant() == g {
			s.Close(protocol.Closef(protocol.CloseExpired, ""))
		}
	})
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
	for name, pattern := range c.subscriptions {
		s.unsubscribe(name, pattern)
	}
	c.subscriptions = nil
	g := s.Grant()
	s.opt.Hub.RemovePeer(s, g.App.ID, g.Peer)
}

// handleRefresh replaces the credential without a reconnect (protocol §4.2).
func (s *Session) handleRefresh(f *protocol.ClientFrame) *protocol.Error {
	old := s.Grant()
	g, refused := s.opt.Verify(f.Token, old.Origin)
	switch {
	case refused != nil:
		return protocol.Errorf(protocol.InvalidToken, "%s", cmp.Or(refused.Reason, refused.Code.Reason()))
	case g.App.ID != old.App.ID:
		return protocol.Errorf(protocol.InvalidToken, "the token is from another app's key")
	case g.Peer != old.Peer:
		return protocol.Errorf(protocol.InvalidToken, "the token is for another peer: its sub must be %q", old.Peer)
	case revocation.Revokes(s.revokedUntil, g):
		return protocol.Errorf(protocol.InvalidToken, "the token was revoked")
	}
	unsubscribed := s.Regrant(g)
	if f.RequestID != "" {
		s.send(func(dst []byte) []byte {
			return protocol.AppendRefreshed(dst, f.RequestID, g.ExpiresAt.Unix(), unsubscribed)
		})
	}
	s.Follow() // the apps document may have changed since Verify
	return nil
}
