//go:build linux

package load

import (
	"context"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"fleetwire/bench/internal/wire"
)

// tick is how exact a schedule is kept: sleeping shorter costs more CPU than the
// sending.
const tick = 200 * time.Microsecond

// writePatience is how long a connection may take nothing before the sender
// gives up.
const writePatience = 10 * time.Second

// Writer writes messages on one connection of a pool. While the socket takes
// nothing it waits, as a client without a queue of its own does.
type Writer struct{ fd int }

// Writer returns the connection's. It must not be used any more after Drop or
// Close.
func (p *Pool) Writer(number int) (w Writer) {
	p.do(func() { w.fd = p.conns[number].fd })
	return w
}

// Write stamps the message with the time and writes it.
func (w Writer) Write(m *wire.Message, stamp time.Duration) error { return w.Send(m.Stamp(stamp)) }

// Send writes the bytes as they are.
func (w Writer) Send(b []byte) error {
	for len(b) > 0 {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(w.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			b = b[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			if err := w.awaitWritable(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("write: %w", errno)
		}
	}
	return nil
}

// pollFD is struct pollfd of poll(2).
type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

func (w Writer) awaitWritable() error {
	const pollOut = 4
	fds := pollFD{fd: int32(w.fd), events: pollOut}
	timeout := syscall.NsecToTimespec(int64(writePatience))
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), 1, uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
	if n == 0 && errno == 0 {
		return fmt.Errorf("write: the server took nothing for %v", writePatience)
	}
	return nil // the next write says what is wrong
}

// Offer calls send n times at a steady rate a second, regardless of their outcome: an
// open loop. due is when the schedule had the message sent. When sending falls
// behind, it catches up. It returns how long all of it took.
func Offer(ctx context.Context, n int, rate float64, send func(i int, due time.Duration) error) (time.Duration, error) {
	start := Now()
	for sent := 0; sent < n; {
		now := Now()
		due := start + (now-start)/tick*tick
		upTo := min(n, int(rate*(due-start).Seconds())+1)
		for ; sent < upTo; sent++ {
			if err := send(sent, due); err != nil {
				return 0, err
			}
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if wait := due + tick - Now(); sent < n && wait > 0 {
			pause := syscall.NsecToTimespec(int64(wait))
			_ = syscall.Nanosleep(&pause, nil) // time.Sleep is a millisecond coarse while the process idles
		}
	}
	return Now() - start, nil
}
