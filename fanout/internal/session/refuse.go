package session

import (
	"net"

	"fleetwire/pkg/protocol"
)

// Refuse closes an upgraded connection that gets no session, with the closing
// handshake that lets the peer read why. early is as in New.
func Refuse(opt *Options, conn *net.TCPConn, early []byte, why *protocol.CloseError) {
	sock, err := newSocket(conn)
	if err != nil {
		_ = conn.Close()
		return
	}
	s := &Session{opt: opt, sock: sock}
	s.in.early = early
	s.refuse(why)
}

// Refuse closes a connection for which Run will not be called.
func (s *Session) Refuse(why *protocol.CloseError) {
	s.leave()
	s.refuse(why)
}

func (s *Session) refuse(why *protocol.CloseError) {
	s.out.mu.Lock()
	s.beginClose(why, true) // without the welcome
	s.out.mu.Unlock()
	s.Flush()
	s.finish(Ended{By: "server", Code: why.Code})
}
