//go:build linux && !goroutines

package conn

import (
	"errors"
	"io"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelUnsent is about how much the kernel takes of what it cannot send yet. By
// itself it takes up to 4 MiB a connection (tcp_wmem), beside our own bound. Bytes
// under way to the peer do not count, so that a long and fast line stays full.
const kernelUnsent = 64 << 10

// socket is a bare TCP socket, which Go's own poller knows nothing of. It is
// read by the loop only; everything else is done with the connection's queue locked.
type socket struct {
	loop   *loop
	fd     int32  // -1: closed
	slot   int32  // 0: not in the epoll set
	events uint32 // that it is, or will be, in the epoll set for
}

// open takes the socket out of conn, and closes conn.
func (k *socket) open(loops *Loops, conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var fd int
	var failed error
	if err := raw.Control(func(old uintptr) {
		fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return err
	}
	if failed != nil {
		return os.NewSyscallError("fcntl", failed)
	}
	_ = conn.Close() // its own descriptor, not the connection
	// Not before Linux 3.12, and no reason to refuse a connection.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, kernelUnsent)
	k.fd, k.events = int32(fd), unix.EPOLLIN
	k.loop = loops.loops[fd%len(loops.loops)]
	return nil
}

// start has the loop serve the connection.
func (k *socket) start(c *Conn) {
	slot, err := k.loop.add(c, int(k.fd), k.events)
	k.slot = slot
	if err != nil { // the system's limits
		c.opt.Log.Error("a connection cannot be waited for", "err", os.NewSyscallError("epoll_ctl", err))
		c.abort()
	}
}

func (k *socket) read(r *reader) (int, error) {
	for {
		n, err := enter(unix.SYS_READ, int(k.fd), r.room())
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, errNothing
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// write is write(2), for tests to count.
var write = func(fd int, b []byte) (int, error) { return enter(unix.SYS_WRITE, fd, b) }

// enter is read(2) or write(2) of a socket that does not block: Go's scheduler need
// not be told, as unix.Read and unix.Write do.
func enter(call uintptr, fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// tryWrite writes as much of the chunk as the socket takes at once.
func (k *socket) tryWrite(chunk []byte) (int, error) {
	for {
		n, err := write(int(k.fd), chunk)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		case err != nil:
			return 0, err
		default:
			return n, nil
		}
	}
}

// awaitWritable has the loop go on writing when the socket takes more.
func (k *socket) awaitWritable(*Conn) { k.await(k.events | unix.EPOLLOUT) }

func (k *socket) stopReading() { k.await(k.events &^ unix.EPOLLIN) }

// pauseReading is edge-triggered: that the peer has hung up, which an epoll set always
// tells, is told once.
func (k *socket) pauseReading() { k.await(k.events&^unix.EPOLLIN | unix.EPOLLET) }

func (k *socket) continueReading() { k.await(k.events&^unix.EPOLLET | unix.EPOLLIN) }

func (k *socket) await(events uint32) {
	if events == k.events {
		return
	}
	k.events = events
	if k.slot != 0 {
		k.loop.change(int(k.fd), k.slot, events)
	}
}

// wake has the loop handle the connection.
func (k *socket) wake(c *Conn) {
	if k.fd >= 0 && c.out.started {
		k.loop.post(c)
	}
}

func (k *socket) close() {
	if k.slot != 0 {
		k.loop.remove(int(k.fd), k.slot)
		k.slot = 0
	}
	_ = unix.Close(int(k.fd))
	k.fd = -1
}

// continueWriting writes what the socket did not take before.
func (c *Conn) continueWriting() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.draining = false
	c.flush()
	if !c.out.draining && c.sock.fd >= 0 {
		c.sock.await(c.sock.events &^ unix.EPOLLOUT)
	}
}
