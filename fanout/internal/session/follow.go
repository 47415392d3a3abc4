package session

import (
	"fleetwire/pkg/protocol"
)

// Follow brings the connection into line with the apps document in force (protocol
// §7): its grant is bound to what the document says now, and what that no longer
// covers is unsubscribed, of which the peer gets an error each. closed is whether
// the connection is closed instead, since its key is revoked or its app suspended.
//
// The document is looked up with the scope locked. So whoever calls Follow after
// having changed the document, or the grant by one that may be older than the
// document, leaves the connection as the newest document wants it, whatever runs
// at the same time.
func (s *Session) Follow() (closed bool) {
	unsubscribed, refused := s.follow()
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
	return false
}

func (s *Session) follow() ([]string, *protocol.CloseError) {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	old := s.Grant()
	g, refused := old.Rebind(s.opt.Directory())
	if refused != nil || g == old || c.left {
		return nil, refused
	}
	// A subscription ends as well if it takes too long to find out whether the new
	// document covers it.
	lost, _ := c.uncovered(g)
	return s.regrant(g, lost), nil
}
