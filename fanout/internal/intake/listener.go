package intake

import (
	"net"
	"time"
)

const (
	// headsBytes bounds all heads over 16 KiB that are not complete or not read yet.
	headsBytes = 32 << 20
	// bodiesBytes bounds what is held for all bodies, from the first byte read until
	// the request is answered.
	bodiesBytes = 64 << 20
)

// Listener accepts connections as [Conn].
type Listener struct {
	net.Listener
	maxHead       int
	maxBody       int64
	patience      time.Duration
	heads, bodies budget
}

// Listen wraps l, which must accept TCP. maxHead and maxBody are the longest head
// and body in bytes that the server takes; the server itself refuses longer bodies.
// patience is how long a head may take from its first byte.
func Listen(l net.Listener, maxHead int, maxBody int64, patience time.Duration) *Listener {
	return &Listener{
		Listener: l, maxHead: maxHead, maxBody: maxBody, patience: patience,
		heads: budget{most: headsBytes}, bodies: budget{most: bodiesBytes},
	}
}

// Accept is net.Listener's.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: conn, tcp: conn.(*net.TCPConn), of: l}, nil
}
