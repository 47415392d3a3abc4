//go:build !linux || goroutines

package session

import "testing"

const goroutinesEach = 1

func wantSocketClosed(t *testing.T, s *Session) {
	t.Helper()
	if _, err := s.sock.conn.Write([]byte("x")); err == nil {
		t.Fatal("the socket is still open")
	}
}

func setWriteBuffer(t *testing.T, s *Session, size int) {
	t.Helper()
	check(t, s.sock.conn.SetWriteBuffer(size))
}
