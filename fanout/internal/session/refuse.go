package session

import (
	"net"

	"fleetwire/clients/go/protocol"
)

// Refuse closes an upgraded connection that gets no session, with the closing
// handshake that lets the peer read why. It takes the connection over unless it
// returns an error; Options.Ended tells when all is over. early and answer are as
// in New.
func Refuse(opt *Options, tcp *net.TCPConn, early, answer []byte, why *protocol.CloseError) error {
	s := &Session{opt: opt}
	if err := s.Open(&opt.Conn, 0, (*handler)(s), tcp, early, answer); err != nil {
		return err
	}
	s.Conn.Refuse(why)
	return nil
}

// Refuse closes a connection instead of Start.
func (s *Session) Refuse(why *protocol.CloseError) {
	s.leave()
	s.Conn.Refuse(why)
}
