package session

import (
	"time"

	"fleetwire/pkg/protocol"
)

// KeepAlive is to be called every protocol.PingInterval: it pings the peer, or
// closes with 4000 when nothing was heard from it for protocol.InactivityLimit.
// If that will be before the next call, it closes then, not at the call.
func (s *Session) KeepAlive(now time.Time) {
	if s.closeIfSilent(now) {
		return
	}
	if left := protocol.InactivityLimit - s.silence(now); left < protocol.PingInterval {
		time.AfterFunc(left, func() { s.closeIfSilent(s.opt.Now()) })
	}
	s.keepExpiry()
	s.sendFrame(protocol.PingFrame)
	s.Flush()
}

func (s *Session) closeIfSilent(now time.Time) bool {
	silent := s.silence(now) >= protocol.InactivityLimit
	if silent {
		s.Close(protocol.Closef(protocol.CloseInactive, ""))
	}
	return silent
}

// silence is for how long nothing was heard from the peer, up to a second more.
func (s *Session) silence(now time.Time) time.Duration {
	return now.Sub(time.Unix(s.heard.Load(), 0))
}

// GoAway tells the peer that the node will close the connection, and how long
// to wait before it connects again.
func (s *Session) GoAway(retryAfter time.Duration) {
	s.send(func(dst []byte) []byte { return protocol.AppendGoingAway(dst, retryAfter.Milliseconds()) })
	s.Flush()
}
