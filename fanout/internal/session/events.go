package session

import (
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/events"
)

// Sent tells of frames to the peer those who watch it (conn.Tapper).
func (h *handler) Sent(frames []byte) {
	s := (*Session)(h)
	if g := s.Grant(); g != nil {
		s.opt.Events.Out(g.App.ID, g.Peer, s.ID(), frames)
	}
}

// tellFrame tells of a frame of the peer those who watch it.
func (s *Session) tellFrame(message []byte) {
	g := s.Grant()
	s.opt.Events.In(g.App.ID, g.Peer, s.ID(), message)
}

// tellError tells those who watch that the peer is sent an error.
func (s *Session) tellError(err *protocol.Error) {
	if s.opt.Events == nil || !s.opt.Events.Watched() {
		return
	}
	g := s.Grant()
	s.opt.Events.Tell(g.App.ID, g.Peer, events.Error, func() events.Event {
		return events.Event{Connection: s.opt.Events.Connection(s.ID()), Code: err.Code, Message: err.Message}
	})
}
