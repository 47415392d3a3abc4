//go:build linux && !goroutines

package conn

import (
	"context"
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// eventsAtOnce is how many connections are handled before the loop asks again which
// have something to do.
const eventsAtOnce = 128

// Loops serve the connections of a node: one loop for each processor that Go uses, each
// with an epoll set of its own.
type Loops struct{ loops []*loop }

// loop serves a part of the connections. Its epoll set is itself waited for
// by Go's scheduler, so that a loop with nothing to do costs no thread.
type loop struct {
	epoll   *os.File
	waiting syscall.RawConn
	epfd    int
	wakeup  int // an eventfd in the epoll set: a connection was posted

	mu     sync.Mutex
	slots  []*Conn // what an event's number means
	free   []int32 // slots without a connection
	posted []*Conn // were woken
}

// NewLoops makes the loops. They have to Run.
func NewLoops() (*Loops, error) {
	l := &Loops{}
	for range runtime.GOMAXPROCS(0) {
		one, err := newLoop()
		if err != nil {
			l.close()
			return nil, err
		}
		l.loops = append(l.loops, one)
	}
	return l, nil
}

func newLoop() (*loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// For a non-blocking file, os.NewFile lets Go's scheduler wait.
	if err := unix.SetNonblock(epfd, true); err != nil {
		_ = unix.Close(epfd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	l := &loop{epoll: os.NewFile(uintptr(epfd), "epoll"), epfd: epfd, slots: make([]*Conn, 1)}
	if l.waiting, err = l.epoll.SyscallConn(); err != nil {
		_ = l.epoll.Close()
		return nil, err
	}
	if l.wakeup, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = l.epoll.Close()
		return nil, os.NewSyscallError("eventfd", err)
	}
	// Edge-triggered, so that nothing has to read it.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: 0}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, l.wakeup, &event); err != nil {
		l.close()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return l, nil
}

func (l *loop) close() {
	_ = l.epoll.Close()
	_ = unix.Close(l.wakeup)
}

func (l *Loops) close() {
	for _, one := range l.loops {
		one.close()
	}
}

// Run serves until ctx ends, which must be after the last connection.
func (l *Loops) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, one := range l.loops {
		running.Go(one.run)
	}
	<-ctx.Done()
	for _, one := range l.loops {
		_ = one.epoll.Close() // ends its run
	}
	running.Wait()
	l.close()
}

func (l *loop) run() {
	var events [eventsAtOnce]unix.EpollEvent
	var ready [eventsAtOnce]*Conn
	var posted []*Conn
	n := 0
	wait := func(uintptr) bool {
		var err error
		for n, err = unix.EpollWait(l.epfd, events[:], 0); err == unix.EINTR; {
			n, err = unix.EpollWait(l.epfd, events[:], 0)
		}
		return n > 0
	}
	for l.waiting.Read(wait) == nil {
		l.mu.Lock()
		for i := range events[:n] {
			ready[i] = l.slots[events[i].Fd]
		}
		posted, l.posted = l.posted, posted[:0]
		l.mu.Unlock()
		for i, c := range ready[:n] {
			if c == nil {
				continue // the wakeup
			}
			ready[i] = nil
			happened := events[i].Events
			c.handleEvents(happened&^unix.EPOLLOUT != 0, happened&^unix.EPOLLIN != 0)
		}
		for i, c := range posted {
			posted[i] = nil
			c.handleEvents(false, false)
		}
		runtime.Gosched() // let goroutines run that the handlers have started
	}
}

func (l *loop) post(c *Conn) {
	l.mu.Lock()
	l.posted = append(l.posted, c)
	first := len(l.posted) == 1
	l.mu.Unlock()
	if first {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(l.wakeup, one[:])
	}
}

// add has the loop handle the connection when something happens to its socket.
func (l *loop) add(c *Conn, fd int, events uint32) (slot int32, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		slot, l.free = l.free[n-1], l.free[:n-1]
		l.slots[slot] = c
	} else {
		slot = int32(len(l.slots))
		l.slots = append(l.slots, c)
	}
	return slot, unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: slot})
}

func (l *loop) change(fd int, slot int32, events uint32) {
	_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: slot})
}

// remove is called by the loop: no event that has come is for the slot's next connection.
func (l *loop) remove(fd int, slot int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slots[slot] = nil
	l.free = append(l.free, slot)
	_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, fd, nil)
}
