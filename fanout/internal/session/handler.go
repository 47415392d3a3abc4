package session

import (
	"context"
	"log/slog"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
)

// handler is the session as its connection's conn.Handler.
type handler Session

// Admit closes connections that send more than their app lets them.
func (h *handler) Admit(now time.Duration) *protocol.CloseError {
	limits := &(*Session)(h).Grant().App.Limits
	if h.rate.take(now, limits) {
		return nil
	}
	return protocol.Closef(protocol.CloseMessageRate, "over %d frames per second (burst %d)", limits.ConnectionMessagesPerSec, limits.ConnectionMessagesBurst)
}

// Message does what a client frame asks.
func (h *handler) Message(message []byte) {
	s := (*Session)(h)
	if tapped := s.opt.Conn.Tapped; tapped != nil && tapped.Load() {
		s.tellFrame(message)
	}
	s.dispatch(message)
}

// Ending gives up everything that the session takes part in.
func (h *handler) Ending(e conn.Ended) {
	if s := (*Session)(h); !s.Refused() {
		s.leave()
		s.opt.Left(s, e)
	}
}

// Closed tells how the connection has ended.
func (h *handler) Closed(e conn.Ended) {
	s := (*Session)(h)
	if !s.Refused() {
		grant := s.Grant()
		s.opt.Conn.Log.LogAttrs(context.Background(), slog.LevelInfo, "connection ended",
			slog.String("app", grant.App.ID), slog.String("peer", grant.Peer), slog.String("key", grant.Key.ID),
			slog.Uint64("connection", s.ID()), slog.String("address", s.client.Address),
			slog.String("by", e.By), slog.Int("code", int(e.Code)), slog.String("reason", e.Reason),
			slog.Duration("lasted", s.opt.Conn.Ticks()-s.began), slog.Uint64("frames", s.Received()))
	}
	s.opt.Ended(s, e)
}

// KeepAlive is Conn.KeepAlive, and sees to it that the connection ends with its token.
func (s *Session) KeepAlive(now time.Duration) {
	if s.Conn.KeepAlive(now) {
		s.keepExpiry()
	}
}
