//go:build unix && (!linux || goroutines)

package conn

import (
	"sync/atomic"
	"syscall"
	"testing"
)

// countedWrites counts the writes to a socket.
type countedWrites struct {
	syscall.RawConn
	n atomic.Int32
}

func (c *countedWrites) Write(f func(uintptr) bool) error {
	c.n.Add(1)
	return c.RawConn.Write(f)
}

// countWrites counts the connection's writes from now on.
func countWrites(_ *testing.T, c *Conn) *atomic.Int32 {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	counted := &countedWrites{RawConn: c.sock.out}
	c.sock.out = counted
	return &counted.n
}
