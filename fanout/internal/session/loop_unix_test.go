//go:build unix && (!linux || goroutines)

package session

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

// countWrites counts the session's writes from now on.
func countWrites(_ *testing.T, s *Session) *atomic.Int32 {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	counted := &countedWrites{RawConn: s.sock.out}
	s.sock.out = counted
	return &counted.n
}
