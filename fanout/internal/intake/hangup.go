package intake

import (
	"net"
	"sync"
	"time"
)

// hangUpAfter is how long a request lasts before its connection is watched: most are
// answered sooner, and cost nothing.
const hangUpAfter = 100 * time.Millisecond

// longAgo is a deadline that ends a read at once.
var longAgo = time.Unix(1, 0)

// OnHangUp calls gone, from another goroutine, if the client hangs up before the request
// that is being served is answered: if it ends its side of the connection, or the
// connection breaks. stop must be called before the connection is read again; gone is not
// called after it.
func (c *Conn) OnHangUp(gone func()) (stop func()) {
	w := &watch{tcp: c.tcp, gone: gone, ended: make(chan struct{})}
	timer := time.AfterFunc(hangUpAfter, w.run)
	return func() {
		if !timer.Stop() {
			w.end()
		}
	}
}

// watch waits for a client to hang up.
type watch struct {
	tcp   *net.TCPConn
	gone  func()
	ended chan struct{} // closed when run returns

	mu      sync.Mutex // makes the deadline that end sets the last
	watched bool
	stopped bool
}

func (w *watch) run() {
	defer close(w.ended)
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return
	}
	w.watched = true
	_ = w.tcp.SetReadDeadline(time.Time{}) // the one that the request had to come within
	w.mu.Unlock()
	raw, err := w.tcp.SyscallConn()
	if err == nil && hungUp(raw) {
		w.gone()
	}
}

// end has run return. The server sets a deadline of its own before it reads again.
func (w *watch) end() {
	w.mu.Lock()
	w.stopped = true
	_ = w.tcp.SetReadDeadline(longAgo)
	w.mu.Unlock()
	<-w.ended
}
