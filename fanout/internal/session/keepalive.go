package session

import (
	"time"

	"fleetwire/pkg/protocol"
)

// KeepAlive is to be called every protocol.PingInterval, with Options.Ticks: it pings the peer, or
// closes with 4000 when nothing was heard from it for protocol.InactivityLimit, with
// 1008 when it took nothing of what waits for it for protocol.StallLimit. If that will
// be before the next call, it closes then, not at the call.
func (s *Session) KeepAlive(now time.Duration) {
	if s.closeIfSilent(now) || s.closeIfStalled(now) {
		return
	}
	if left := protocol.InactivityLimit - s.silence(now); left < protocol.PingInterval {
		time.AfterFunc(left, func() { s.closeIfSilent(s.opt.Ticks()) })
	}
	if left := protocol.StallLimit - s.stalled(now); left < protocol.PingInterval {
		time.AfterFunc(left, func() { s.closeIfStalled(s.opt.Ticks()) })
	}
	s.keepExpiry()
	s.sendFrame(protocol.PingFrame)
	s.Flush()
}

func (s *Session) closeIfSilent(now time.Duration) bool {
	silent := s.silence(now) >= protocol.InactivityLimit
	if silent {
		s.Close(protocol.Closef(protocol.CloseInactive, ""))
	}
	return silent
}

// silence is for how long nothing was heard from the peer, up to a second more.
func (s *Session) silence(now time.Duration) time.Duration {
	return now - time.Duration(s.heard.Load())*time.Second
}

// closeIfStalled gives up a peer that may well ping, but reads nothing: what waits for
// it, such as a large snapshot, is memory of the node's.
func (s *Session) closeIfStalled(now time.Duration) bool {
	stalled := s.stalled(now) >= protocol.StallLimit
	if stalled {
		s.out.mu.Lock()
		s.beginClose(protocol.Closef(protocol.ClosePolicy, "%s: it took nothing for %v", protocol.ReasonSlowConsumer, protocol.StallLimit), true)
		s.out.mu.Unlock()
	}
	return stalled
}

// stalled is for how long the socket took nothing of what waits.
func (s *Session) stalled(now time.Duration) time.Duration {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if !s.out.draining {
		return 0
	}
	return now - s.out.progress
}

// GoAway tells the peer that the node will close the connection, and how long
// to wait before it connects again.
func (s *Session) GoAway(retryAfter time.Duration) {
	s.send(func(dst []byte) []byte { return protocol.AppendGoingAway(dst, retryAfter.Milliseconds()) })
	s.Flush()
}
