package node

import (
	"net"
	"time"
)

// impatient gives a new connection patience to send its first byte. fasthttp
// sets its own deadlines from there on, but with ReduceMemoryUsage it would wait
// for that byte for ever.
type impatient struct {
	net.Listener
	patience time.Duration
}

func (l impatient) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(l.patience))
	}
	return conn, err
}
