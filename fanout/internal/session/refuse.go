package session

import (
	"net"

	"fleetwire/pkg/protocol"
)

// Refuse closes an upgraded connection that gets no session, with the closing
// handshake that lets the peer read why. It takes the connection over unless it
// returns an error; Options.Ended tells when all is over. early and answer are as
// in New.
func Refuse(opt *Options, conn *net.TCPConn, early, answer []byte, why *protocol.CloseError) error {
	s := &Session{opt: opt}
	if err := s.sock.open(opt.Loops, conn); err != nil {
		return err
	}
	s.takeEarly(early)
	s.out.begin(answer)
	s.refuse(why)
	return nil
}

// Refuse closes a connection instead of Start.
func (s *Session) Refuse(why *protocol.CloseError) {
	s.leave()
	s.refuse(why)
}

func (s *Session) refuse(why *protocol.CloseError) {
	s.refused = true
	s.out.mu.Lock()
	s.beginClose(why, true) // without the welcome
	s.out.mu.Unlock()
	s.begin()
}
