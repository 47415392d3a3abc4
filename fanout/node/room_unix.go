//go:build unix

package node

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// roomBut tells whether a connection leaves as many files to others as it should. The kernel gives a new file the
// lowest number that is free, so one with a high number says that there are as many.
func roomBut(leave Spare) func(net.Conn) error {
	return func(conn net.Conn) error {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
			return nil
		}
		highest := int(limit.Cur) - leave(int(limit.Cur))
		socket, ok := conn.(syscall.Conn)
		if !ok {
			return nil
		}
		raw, err := socket.SyscallConn()
		if err != nil {
			return nil
		}
		var number int
		if err := raw.Control(func(fd uintptr) { number = int(fd) }); err != nil || number < highest {
			return nil
		}
		// It may have waited: look where a file would be now.
		now, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return errNoRoom
		}
		_ = unix.Close(now)
		if now < highest {
			return nil
		}
		return errNoRoom
	}
}
