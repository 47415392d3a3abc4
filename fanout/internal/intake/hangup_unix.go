//go:build unix && !linux

package intake

import (
	"errors"
	"os"
	"syscall"
)

// hungUp waits until the other side has ended, and says whether it has: the deadline of reads
// may have come first, or bytes of a next request, which stay unread and hide an end.
func hungUp(conn syscall.RawConn) (gone bool) {
	var first [1]byte
	err := conn.Read(func(fd uintptr) bool {
		for {
			n, _, err := syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK)
			switch {
			case errors.Is(err, syscall.EINTR):
				continue
			case errors.Is(err, syscall.EAGAIN):
				return false // wait
			}
			gone = err != nil || n == 0
			return true
		}
	})
	return gone || err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}
