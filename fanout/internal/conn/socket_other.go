//go:build !unix

package conn

import "net"

// waiting is a socket where the system offers no more than Go's own blocking
// calls: a connection holds its buffer while it waits, and is written by a
// goroutine of its own whenever something is queued.
type waiting struct{ conn *net.TCPConn }

func (w *waiting) open(k *socket) error {
	w.conn = k.conn
	return nil
}

func (w *waiting) readWhenThereIs(r *reader) (int, error) { return w.conn.Read(r.room()) }

func (w *waiting) tryWrite([]byte) (int, error) { return 0, nil }
