package intake

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp waits until the other side has ended, and says whether it has: the deadline of
// reads may have come first. Bytes that wait to be read hide nothing.
func hungUp(conn syscall.RawConn) (gone bool) {
	err := conn.Read(func(fd uintptr) bool {
		at := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		for {
			n, err := unix.Poll(at, 0)
			if !errors.Is(err, unix.EINTR) {
				gone = err != nil || n > 0
				return gone // else it waits for the next event
			}
		}
	})
	return gone || err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}
