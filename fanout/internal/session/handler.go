package session

import (
	"context"
	"log/slog"
	"time"

	"fleetwire/pkg/protocol"
)

// admit closes connections that send more than their app lets them (handler).
func (s *Session) admit(now time.Duration) *protocol.CloseError {
	limits := &s.Grant().App.Limits
	if s.pace.take(now, limits) {
		return nil
	}
	return protocol.Closef(protocol.CloseMessageRate, "over %d frames per second (burst %d)", limits.ConnectionMessagesPerSec, limits.ConnectionMessagesBurst)
}

// KeepAlive is Conn.KeepAlive, and sees to it that the connection ends with its token.
func (s *Session) KeepAlive(now time.Duration) {
	if s.Conn.KeepAlive(now) {
		s.keepExpiry()
	}
}

// ending gives up everything that the session takes part in (handler).
func (s *Session) ending() {
	if !s.refused {
		s.leave()
		s.opt.Left(s)
	}
}

// closed tells how the connection has ended (handler).
func (s *Session) closed(e Ended) {
	if !s.refused {
		grant := s.Grant()
		s.opt.Conn.Log.LogAttrs(context.Background(), slog.LevelInfo, "connection ended",
			slog.String("app", grant.App.ID), slog.String("peer", grant.Peer), slog.String("key", grant.Key.ID),
			slog.Uint64("connection", s.id), slog.String("address", s.remote),
			slog.String("by", e.By), slog.Int("code", int(e.Code)), slog.String("reason", e.Reason),
			slog.Duration("lasted", s.opt.Conn.Ticks()-s.began), slog.Uint64("frames", s.received))
	}
	s.opt.Ended(s, e)
}
