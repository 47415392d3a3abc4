package session

import (
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// Reauthorize brings the connection into line with the apps document in force (protocol
// §7): its grant is bound to what the document says now, and what that no longer
// covers is unsubscribed, of which the peer gets an error each. closed is whether
// the connection is closed instead, since its key is revoked or its app suspended.
//
// The document is looked up with the scope locked. So a caller of Reauthorize that
// has changed the document, or the grant by one that may be older than the
// document, leaves the connection as the newest document wants it, no matter what
// runs at the same time.
func (s *Session) Reauthorize() (closed bool) {
	unsubscribed, refused := s.reauthorize()
	if refused != nil {
		s.Close(refused)
		return true
	}
	for _, name := range unsubscribed {
		s.fail("", protocol.Errorf(protocol.ChannelNotAuthorized, "unsubscribed from %q: the key does not cover it any more", name))
	}
	if len(unsubscribed) > 0 {
		s.Flush()
	}
	s.regroup()
	return false
}

func (s *Session) reauthorize() ([]string, *protocol.CloseError) {
	c := &s.scope
	var v *coverage
	var checkedBy *apps.Directory
	var checkedFor *auth.Grant
	for {
		c.mu.Lock()
		old, dir := s.Grant(), s.opt.Directory()
		if v == nil || checkedBy != dir || checkedFor != old {
			g, refused := old.Rebind(dir)
			if refused != nil || g == old || c.left {
				c.mu.Unlock()
				return nil, refused
			}
			v, checkedBy, checkedFor = newCoverage(g), dir, old
		}
		if v.complete(c.subscriptions) {
			// A subscription ends as well if it takes too long to find out whether the
			// new document covers it.
			defer c.mu.Unlock()
			return s.regrant(v), nil
		}
		c.mu.Unlock()
		v.check()
	}
}
