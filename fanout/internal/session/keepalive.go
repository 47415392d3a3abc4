package session

import (
	"time"

	"fleetwire/pkg/protocol"
)

// KeepAlive is to be called every protocol.PingInterval: it pings the peer, or
// closes with 4000 when nothing was heard from it for protocol.InactivityLimit.
func (s *Session) KeepAlive(now time.Time) {
	if now.Unix()-s.heard.Load() >= int64(protocol.InactivityLimit/time.Second) {
		s.Close(protocol.Closef(protocol.CloseInactive, ""))
		return
	}
	s.sendFrame(protocol.PingFrame)
	s.Flush()
}

// GoAway tells the peer that the node will close the connection, and how long
// to wait before it connects again.
func (s *Session) GoAway(retryAfter time.Duration) {
	s.send(func(dst []byte) []byte { return protocol.AppendGoingAway(dst, retryAfter.Milliseconds()) })
	s.Flush()
}
