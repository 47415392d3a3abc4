//go:build !unix

package session

import (
	"net"
	"time"
)

// socket is a TCP connection where the system offers no more than Go's own
// blocking calls: a connection holds its buffer while it waits, and is written
// by a goroutine of its own whenever something is queued.
type socket struct{ conn *net.TCPConn }

func newSocket(conn *net.TCPConn) (*socket, error) { return &socket{conn: conn}, nil }

func (s *socket) read(r *reader) (int, error) { return s.conn.Read(r.room()) }

func (s *socket) tryWrite([]byte) (int, error) { return 0, nil }

func (s *socket) stopReading() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) }
