package session

import (
	"cmp"
	"runtime"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/auth"
)

// checking bounds how many tokens are checked at a time, by all sessions: a processor
// is left for everything else.
var checking = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))

// offLoop runs what may take longer than a loop should, on another goroutine.
func (s *Session) offLoop(check func()) {
	checking <- struct{}{}
	defer func() { <-checking }()
	defer s.Recovered()
	check()
}

// handleRefresh replaces the credential without a reconnect (protocol §4.2). The
// connection's further frames wait while the token is checked.
func (s *Session) handleRefresh(f *protocol.ClientFrame) {
	token, requestID := f.Token, f.RequestID
	s.Pause()
	go func() {
		defer s.Resume()
		s.offLoop(func() {
			if refused := s.checkRefresh(token, requestID); refused != nil {
				s.fail(requestID, refused)
				s.Flush()
			}
		})
	}()
}

// checkRefresh asks Redis whether a good token was revoked, as at connect: that it was
// may not have reached this node. Until Redis has answered, the former credential is
// in force, and no frame waits.
func (s *Session) checkRefresh(token, requestID string) *protocol.Error {
	old := s.Grant()
	g, refused := s.opt.Verify(token, old.Origin)
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
	s.opt.Revoked(g, func(revoked bool, err error) {
		s.offLoop(func() {
			if failed := s.answerRefresh(g, number, requestID, revoked, err); failed != nil {
				s.fail(requestID, failed)
			}
			s.Flush()
		})
	})
	return nil
}

func (s *Session) answerRefresh(g *auth.Grant, number uint32, requestID string, revoked bool, err error) *protocol.Error {
	switch {
	case err != nil:
		return protocol.Errorf(protocol.BackendError, "Redis does not answer whether the token was revoked; the former token stays in force, try again")
	case revoked:
		return protocol.Errorf(protocol.InvalidToken, "the token was revoked")
	}
	return s.refresh(g, number, requestID)
}

// refresh takes the grant, unless a refresh that was asked for later has been granted
// already, and answers.
func (s *Session) refresh(g *auth.Grant, number uint32, requestID string) *protocol.Error {
	unsubscribed, tooMuch := s.regrantInOrder(g, number)
	if tooMuch != nil {
		return tooMuch
	}
	if requestID != "" {
		s.Send(func(dst []byte) []byte {
			return protocol.AppendRefreshed(dst, requestID, g.ExpiresAt.Unix(), unsubscribed)
		})
	}
	s.Reauthorize() // the apps document may have changed since Verify; this ends subscriptions to groups, too
	return nil
}
