//go:build linux && !goroutines

package session

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fleetwire/pkg/protocol"
)

// unsentInKernel is how much the kernel has taken of the session and not sent.
func unsentInKernel(t *testing.T, s *Session) int {
	t.Helper()
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	n, err := unix.IoctlGetInt(int(s.sock.fd), unix.SIOCOUTQNSD)
	check(t, err)
	return n
}

// HOSTILE: what a peer does not read waits in our queue, where it counts, and not in
// the kernel's buffers, which grow to 4 MiB a connection.
func TestKernelHoldsLittleForAStalledPeer(t *testing.T) {
	const segment = 64 << 10 // which the kernel takes whole, or not
	w := newWorld(t)
	p := w.connect(w.grant("slow"))
	// It reads fast for a while: that is what the buffers grow with.
	big := protocol.AppendTextFrame(nil, []byte(`"`+strings.Repeat("f", 512<<10)+`"`))
	for n := range uint64(40) {
		p.session.Append(big, n+1)
		p.session.Flush()
		p.read()
	}
	// Then it stops.
	taken := 0
	for n := uint64(41); p.session.out.closeSent() == nil; n++ {
		if queued, _ := p.session.Append(big, n); queued {
			taken++
		}
		p.session.Flush()
		if got := unsentInKernel(t, p.session); got > kernelUnsent+segment {
			t.Fatalf("the kernel holds %d unsent bytes, want at most %d", got, kernelUnsent+segment)
		}
	}
	t.Logf("%d frames of 512 KiB were taken before the bound; the kernel holds %d bytes unsent", taken, unsentInKernel(t, p.session))
}
