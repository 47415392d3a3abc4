//go:build !linux || goroutines

package conn

import "testing"

const goroutinesEach = 1

func wantSocketClosed(t *testing.T, c *Conn) {
	t.Helper()
	if _, err := c.sock.conn.Write([]byte("x")); err == nil {
		t.Fatal("the socket is still open")
	}
}

func setWriteBuffer(t *testing.T, c *Conn, size int) {
	t.Helper()
	check(t, c.sock.conn.SetWriteBuffer(size))
}
