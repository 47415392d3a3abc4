//go:build linux

package load

import (
	"context"
	"fmt"
	"maps"
	"math"
	"sync/atomic"
	"syscall"
	"time"
)

// readBuffer is the most that is read from a connection at once.
const readBuffer = 256 << 10

// Pool is a set of connections served by one goroutine, the loop.
type Pool struct {
	epoll, wakeRead, wakeWrite int
	tasks                      chan func()
	stopped                    chan struct{}

	// Owned by the loop.
	conns    []conn // never grows: epoll knows its elements by index
	used     int
	opening  *opening
	buffer   []byte
	total    int64
	samples  []time.Duration
	problems map[string]int
	retries  []retry

	delivered atomic.Int64 // total, for others to read
	target    atomic.Int64 // reached is sent to when total gets there
	reached   chan time.Duration
}

// NewPool makes room for so many connections. Close it.
func NewPool(room int) (*Pool, error) {
	p := &Pool{
		tasks: make(chan func(), 1), stopped: make(chan struct{}), reached: make(chan time.Duration, 1),
		conns: make([]conn, room), buffer: make([]byte, readBuffer), problems: map[string]int{},
	}
	p.target.Store(math.MaxInt64)
	var err error
	if p.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	var pipe [2]int
	if err = syscall.Pipe2(pipe[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err != nil {
		_ = syscall.Close(p.epoll)
		return nil, fmt.Errorf("pipe: %w", err)
	}
	p.wakeRead, p.wakeWrite = pipe[0], pipe[1]
	wake := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: -1}
	if err = syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, p.wakeRead, &wake); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	go p.loop()
	return p, nil
}

// Close closes all connections and ends the loop.
func (p *Pool) Close() {
	p.do(func() {
		p.dropAll()
		close(p.stopped)
	})
	_ = syscall.Close(p.epoll)
	_ = syscall.Close(p.wakeRead)
	_ = syscall.Close(p.wakeWrite)
}

// do has the loop run the task, and waits for it.
func (p *Pool) do(task func()) {
	done := make(chan struct{})
	p.tasks <- func() { defer close(done); task() }
	_, _ = syscall.Write(p.wakeWrite, []byte{0})
	<-done
}

func (p *Pool) loop() {
	events := make([]syscall.EpollEvent, 512)
	for {
		n, err := syscall.EpollWait(p.epoll, events, p.reopen())
		if err != nil && err != syscall.EINTR {
			panic(fmt.Sprintf("epoll_wait: %v", err))
		}
		for i := range max(n, 0) {
			e := &events[i]
			if e.Fd < 0 {
				var b [16]byte
				_, _ = syscall.Read(p.wakeRead, b[:])
				for len(p.tasks) > 0 {
					(<-p.tasks)()
				}
				select {
				case <-p.stopped:
					return
				default:
				}
				continue
			}
			p.serve(&p.conns[e.Fd], e.Events)
		}
	}
}

// Delivered is how many messages have come in all, on all connections.
func (p *Pool) Delivered() int64 { return p.delivered.Load() }

// count adds to what has been delivered.
func (p *Pool) count(n int) {
	p.total += int64(n)
	p.delivered.Store(p.total)
	if p.total >= p.target.Load() {
		p.target.Store(math.MaxInt64)
		select {
		case p.reached <- Now():
		default:
		}
	}
}

// Expect makes ready for Await: it comes before what causes the messages, so
// that the time of the last one is exact.
func (p *Pool) Expect(total int64) {
	select {
	case <-p.reached:
	default:
	}
	p.target.Store(total)
}

// Await waits until as many messages have come in all as Expect was told, and
// returns when the last of them was read. ErrStalled: none came for so long.
func (p *Pool) Await(ctx context.Context, total int64, stall time.Duration) (time.Duration, error) {
	last := p.delivered.Load()
	timer := time.NewTimer(stall)
	defer timer.Stop()
	for p.delivered.Load() < total {
		select {
		case at := <-p.reached:
			if p.delivered.Load() >= total {
				return at, nil
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-timer.C:
			now := p.delivered.Load()
			if now == last {
				return 0, ErrStalled
			}
			last = now
			timer.Reset(stall)
		}
	}
	select {
	case at := <-p.reached:
		return at, nil
	case <-time.After(10 * time.Millisecond): // total had come before Expect
		return Now(), nil
	}
}

// TakeSamples returns the latencies taken since it was last called.
func (p *Pool) TakeSamples() (samples []time.Duration) {
	p.do(func() { samples, p.samples = p.samples, nil })
	return samples
}

// Received is how many messages each of the connections has got.
func (p *Pool) Received(numbers []int) (received []int64) {
	p.do(func() {
		for _, i := range numbers {
			received = append(received, p.conns[i].received)
		}
	})
	return received
}

// Problems are what went wrong on connections that were ready, and how often.
func (p *Pool) Problems() (problems map[string]int) {
	p.do(func() { problems = maps.Clone(p.problems) })
	return problems
}

// Hang has a connection read nothing any more.
func (p *Pool) Hang(number int) {
	p.do(func() {
		if c := &p.conns[number]; c.state == ready {
			_ = syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_DEL, c.fd, nil)
		}
	})
}

// Listen has a connection that hangs read what has come for it, and everything
// from now on.
func (p *Pool) Listen(number int) {
	p.do(func() {
		if c := &p.conns[number]; c.state == ready {
			p.watch(c, syscall.EPOLL_CTL_ADD, syscall.EPOLLIN)
		}
	})
}

// Drop closes all connections at once, as when the network goes away. The pool
// has room again for as many as at first.
func (p *Pool) Drop() { p.do(p.dropAll) }

// release closes the connection's socket.
func (p *Pool) release(c *conn) {
	if c.state != waiting {
		_ = syscall.Close(c.fd)
	}
}

func (p *Pool) dropAll() {
	for i := range p.used {
		if c := &p.conns[i]; c.state != unused {
			p.release(c)
			*c = conn{}
		}
	}
	p.used, p.retries = 0, nil
}
