//go:build linux && !goroutines

package conn

import (
	"testing"

	"golang.org/x/sys/unix"
)

// unsentInKernel is how much the kernel has taken of the connection and not sent.
func unsentInKernel(t *testing.T, c *Conn) int {
	t.Helper()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	n, err := unix.IoctlGetInt(int(c.sock.fd), unix.SIOCOUTQNSD)
	check(t, err)
	return n
}

// HOSTILE: what a peer does not read waits in our queue, where it counts, and not in
// the kernel's buffers, which grow to 4 MiB a connection.
func TestKernelHoldsLittleForAStalledPeer(t *testing.T) {
	const segment = 64 << 10 // which the kernel takes whole, or not
	w := newWorld(t)
	p := w.connect()
	// It reads fast for a while: that is what the buffers grow with.
	big := framed(messageOf(512 << 10))
	for n := range uint64(40) {
		p.conn.Append(big, n+1)
		p.conn.Flush()
		p.Read()
	}
	// Then it stops.
	taken := 0
	for n := uint64(41); p.conn.out.closeSent() == nil; n++ {
		if queued, _ := p.conn.Append(big, n); queued {
			taken++
		}
		p.conn.Flush()
		if got := unsentInKernel(t, &p.conn); got > kernelUnsent+segment {
			t.Fatalf("the kernel holds %d unsent bytes, want at most %d", got, kernelUnsent+segment)
		}
	}
	t.Logf("%d frames of 512 KiB were taken before the bound; the kernel holds %d bytes unsent", taken, unsentInKernel(t, &p.conn))
}
