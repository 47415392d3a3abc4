package session

import (
	"cmp"

	"fleetwire/pkg/auth"
	"fleetwire/pkg/protocol"
)

// handleRefresh replaces the credential without a reconnect (protocol §4.2). Redis is
// asked whether the token was revoked, as at connect: that it was may not have reached
// this node. Until Redis has answered, the former credential is in force.
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
	}
	c := &s.scope
	c.mu.Lock()
	c.asked++
	number := c.asked
	c.mu.Unlock()
	requestID := f.RequestID
	s.opt.Revoked(g, func(revoked bool, err error) {
		var failed *protocol.Error
		switch {
		case err != nil:
			failed = protocol.Errorf(protocol.BackendError, "Redis does not answer whether the token was revoked; the former token stays in force, try again")
		case revoked:
			failed = protocol.Errorf(protocol.InvalidToken, "the token was revoked")
		default:
			failed = s.refresh(g, number, requestID)
		}
		if failed != nil {
			s.fail(requestID, failed)
		}
		s.Flush()
	})
	return nil
}

// refresh takes the grant, unless a refresh that was asked for later has been granted
// already, and answers.
func (s *Session) refresh(g *auth.Grant, number uint32, requestID string) *protocol.Error {
	unsubscribed, tooMuch := s.regrantInTurn(g, number)
	if tooMuch != nil {
		return tooMuch
	}
	if requestID != "" {
		s.send(func(dst []byte) []byte {
			return protocol.AppendRefreshed(dst, requestID, g.ExpiresAt.Unix(), unsubscribed)
		})
	}
	s.Follow() // the apps document may have changed since Verify
	return nil
}
