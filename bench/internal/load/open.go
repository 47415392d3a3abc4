//go:build linux

package load

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// opening is a set of connections being opened.
type opening struct {
	specs    []Spec
	next     int // of specs
	result   Opened
	began    time.Duration
	finished chan struct{}
}

// Open opens connections, so many at a time, and waits until the subscriptions
// of all are live or have failed.
func (p *Pool) Open(ctx context.Context, specs []Spec, parallel int) (Opened, error) {
	o := &opening{specs: specs, result: Opened{Problems: map[string]int{}}, finished: make(chan struct{})}
	var refused error
	p.do(func() {
		if p.used+len(specs) > len(p.conns) {
			refused = fmt.Errorf("the pool has room for %d connections, not for %d", len(p.conns), p.used+len(specs))
			return
		}
		o.began = Now()
		p.opening = o
		if len(specs) == 0 {
			p.settled(o)
		}
		for range parallel {
			p.openNext(o)
		}
	})
	if refused != nil {
		return Opened{}, refused
	}
	select {
	case <-o.finished:
		return o.result, nil
	case <-ctx.Done():
		var soFar Opened
		p.do(func() {
			p.opening = nil
			soFar = o.result
		})
		return soFar, fmt.Errorf("%d of %d connections were ready when time was up (%d failed): %w", len(soFar.Ready), len(specs), soFar.Failed, ctx.Err())
	}
}

func (p *Pool) openNext(o *opening) {
	if o.next == len(o.specs) {
		return
	}
	spec := &o.specs[o.next]
	o.next++
	c := &p.conns[p.used]
	*c = conn{number: p.used, spec: spec}
	p.used++
	p.begin(c)
}

// connect begins to connect. The source addresses differ, for there are only
// 28,000 ports on each.
func (p *Pool) connect(c *conn) error {
	to, err := netip.ParseAddrPort(c.spec.Address)
	if err != nil || !to.Addr().Is4() {
		return fmt.Errorf("address %q must be IPv4:port", c.spec.Address)
	}
	const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT, since Linux 4.2: the port is chosen by connect
	if c.fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	_ = syscall.SetsockoptInt(c.fd, syscall.IPPROTO_IP, bindAddressNoPort, 1)
	_ = syscall.SetsockoptInt(c.fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	// Closing resets the connection: none is left in TIME_WAIT for the next run.
	_ = syscall.SetsockoptLinger(c.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	if c.spec.ReceiveBuffer > 0 {
		_ = syscall.SetsockoptInt(c.fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, c.spec.ReceiveBuffer)
	}
	from := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + c.number%200)}}
	if err = syscall.Bind(c.fd, from); err == nil {
		err = syscall.Connect(c.fd, &syscall.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil && err != syscall.EINPROGRESS {
		_ = syscall.Close(c.fd)
		return fmt.Errorf("connect: %w", err)
	}
	p.watch(c, syscall.EPOLL_CTL_ADD, syscall.EPOLLOUT)
	return nil
}

func (p *Pool) watch(c *conn, op int, events uint32) {
	e := syscall.EpollEvent{Events: events, Fd: int32(c.number)}
	if err := syscall.EpollCtl(p.epoll, op, c.fd, &e); err != nil {
		p.fail(c, fmt.Errorf("epoll_ctl: %w", err))
	}
}

// failed and succeeded account for one connection of the opening, and begin the
// next.
func (p *Pool) failed(why error) {
	if o := p.opening; o != nil {
		o.result.Failed++
		o.result.Problems[why.Error()]++
		p.settled(o)
	}
}

func (p *Pool) succeeded(c *conn) {
	if o := p.opening; o != nil {
		o.result.Ready = append(o.result.Ready, c.number)
		p.settled(o)
	}
}

func (p *Pool) settled(o *opening) {
	p.openNext(o)
	if p.opening == o && len(o.result.Ready)+o.result.Failed == len(o.specs) {
		o.result.Took = Now() - o.began
		p.opening = nil
		close(o.finished)
	}
}
