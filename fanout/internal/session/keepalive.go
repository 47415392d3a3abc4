package session

import (
	"time"

	"fleetwire/pkg/protocol"
)

// KeepAlive is to be called every protocol.PingInterval: it pings the peer, or
// closes with 4000 when nothing was heard from it for protocol.InactivityLimit, with
// 1008 when it took nothing of what waits for it for protocol.StallLimit. If that will
// be before the next call, it closes then, not at the call.
func (s *Session) KeepAlive(now time.Time) {
	if s.closeIfSilent(now) || s.closeIfStalled(now) {
		return
	}
	if left := protocol.InactivityLimit - s.silence(now); left < protocol.PingInterval {
		time.AfterFunc(left, func() { s.closeIfSilent(s.opt.Now()) })
	}
	if left := protocol.StallLimit - s.stalled(now); left < protocol.PingInterval {
		time.AfterFunc(left, func() { s.closeIfStalled(s.opt.Now()) })
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

// closeIfStalled gives up a peer that may well ping, but reads nothing: what waits for
// it, such as a large snapshot, is memory of the node's.
func (s *Session) closeIfStalled(now time.Time) bool {
	stalled := s.stalled(now) >= protocol.StallLimit
	if stalled {
		s.out.mu.Lock()
		s.beginClose(protocol.Closef(protocol.ClosePolicy, "%s: it took nothing for %v", protocol.ReasonSlowConsumer, protocol.StallLimit), true)
		s.out.mu.Unlock()
	}
	return stalled
}

// stalled is for how long the socket took nothing of what waits.
func (s *Session) stalled(now time.Time) time.Duration {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if !s.out.draining {
		return 0
	}
	return time.Duration(sinceStart(now) - s.out.progress)
}

// processStart is what sinceStart counts from: a monotonic clock, which no setting of
// the time moves.
var processStart = time.Now()

// sinceStart is a time in nanoseconds, and never 0.
func sinceStart(t time.Time) int64 { return int64(t.Sub(processStart)) | 1 }

// GoAway tells the peer that the node will close the connection, and how long
// to wait before it connects again.
func (s *Session) GoAway(retryAfter time.Duration) {
	s.send(func(dst []byte) []byte { return protocol.AppendGoingAway(dst, retryAfter.Milliseconds()) })
	s.Flush()
}
