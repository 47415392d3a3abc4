//go:build linux

package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"fleetwire/bench/internal/wire"
)

type state uint8

const (
	unused      state = iota
	waiting           // until it is opened again
	connecting        // until the socket is writable
	upgrading         // until the end of the HTTP response
	subscribing       // during the opening's steps
	ready
	dead // broken off; its socket is closed with the pool, so that nothing writes to another's
)

// conn is one connection. The loop owns it; others only write to fd.
type conn struct {
	fd       int
	number   int // its place in the pool
	spec     *Spec
	state    state
	step     int
	tries    int // that came before
	frames   wire.Frames
	received int64
	gathered []byte // what has come of the step's answer, or of a frame to answer
	closing  []byte // of a close frame
}

var marker = []byte{wire.Marker}

// serve does what a connection's events ask.
func (p *Pool) serve(c *conn, events uint32) {
	switch c.state {
	case unused, waiting, dead:
	case connecting:
		if code, err := syscall.GetsockoptInt(c.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); err != nil || code != 0 {
			p.fail(c, fmt.Errorf("connect: %w", syscall.Errno(code)))
			return
		}
		c.state = upgrading
		p.watch(c, syscall.EPOLL_CTL_MOD, syscall.EPOLLIN)
		p.say(c, c.spec.Opening.Upgrade)
	default:
		p.read(c)
	}
}

func (p *Pool) read(c *conn) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&p.buffer[0])), uintptr(len(p.buffer)))
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
	case errno != 0:
		p.fail(c, fmt.Errorf("read: %w", errno))
	case n == 0:
		p.fail(c, errors.New("the server ended the connection without a close frame"))
	default:
		p.take(c, p.buffer[:n])
	}
}

// take does what the bytes say that have come.
func (p *Pool) take(c *conn, b []byte) {
	if c.state == upgrading {
		c.gathered = append(c.gathered, b...)
		head, rest, whole := bytes.Cut(c.gathered, []byte("\r\n\r\n"))
		if !whole {
			return
		}
		c.gathered = nil
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) {
			line, _, _ := bytes.Cut(head, []byte("\r\n"))
			p.fail(c, fmt.Errorf("upgrade refused: %s", line))
			return
		}
		c.state = subscribing
		p.advance(c)
		b = bytes.Clone(rest)
	}
	came := 0
	var now time.Duration
	for len(b) > 0 && c.state != dead && c.state != waiting {
		opcode, payload, rest, done, ok, err := c.frames.Next(b)
		if err != nil {
			p.fail(c, err)
			return
		}
		b = rest
		if !ok {
			break
		}
		switch {
		case opcode == wire.OpClose || opcode == wire.OpPing:
			p.control(c, opcode, payload, done)
		case opcode == wire.OpPong:
		case c.state == subscribing:
			c.gathered = append(c.gathered, payload...)
			p.advance(c)
		default:
			n := bytes.Count(payload, marker)
			came += n
			if n == 0 && bytes.Contains(payload, []byte(c.spec.Refusal)) {
				p.problems["refused: "+string(payload[:min(len(payload), 200)])]++
			}
			if n > 0 && c.spec.Sample {
				if now == 0 {
					now = Now()
				}
				wire.Stamps(payload, func(sent time.Duration) { p.samples = append(p.samples, now-sent) })
			}
			if c.spec.Answer != nil {
				p.answer(c, payload, done)
			}
		}
	}
	if came > 0 {
		c.received += int64(came)
		p.count(came)
	}
}

// advance goes on with the opening as far as what has come allows.
func (p *Pool) advance(c *conn) {
	for c.state == subscribing {
		steps := c.spec.Opening.Steps
		if c.step > 0 {
			expected := steps[c.step-1].Expect
			at := bytes.Index(c.gathered, []byte(expected))
			if at < 0 {
				if bytes.Contains(c.gathered, []byte(c.spec.Refusal)) {
					p.fail(c, fmt.Errorf("refused: %s", c.gathered[:min(len(c.gathered), 200)]))
				}
				return
			}
			if c.step == len(steps) && c.spec.Opening.Took != nil {
				c.spec.Opening.Took(c.gathered)
			}
			c.gathered = c.gathered[at+len(expected):]
		}
		if c.step == len(steps) {
			c.state, c.gathered = ready, nil
			p.succeeded(c)
			return
		}
		c.step++
		p.say(c, steps[c.step-1].Send)
	}
}

func (p *Pool) control(c *conn, opcode byte, payload []byte, done bool) {
	if opcode == wire.OpPing {
		if done {
			p.say(c, wire.ClientFrame(wire.OpPong, nil))
		}
		return
	}
	c.closing = append(c.closing, payload...)
	if !done {
		return
	}
	why := errors.New("closed by the server without a code")
	if len(c.closing) >= 2 {
		code := binary.BigEndian.Uint16(c.closing)
		if p.postpone(c, code) {
			return
		}
		why = fmt.Errorf("closed by the server: %d %s", code, c.closing[2:])
	}
	p.fail(c, why)
}

// answer answers a frame once all of it has come.
func (p *Pool) answer(c *conn, payload []byte, done bool) {
	if len(c.gathered) > 0 || !done {
		c.gathered = append(c.gathered, payload...)
		payload = c.gathered
	}
	if done {
		p.say(c, c.spec.Answer(payload))
		c.gathered = c.gathered[:0]
	}
}

// say writes something small on a socket that must have room for it.
func (p *Pool) say(c *conn, b []byte) {
	if len(b) == 0 {
		return
	}
	if n, err := syscall.Write(c.fd, b); n != len(b) {
		p.fail(c, fmt.Errorf("the socket took %d of %d bytes: %w", max(n, 0), len(b), err))
	}
}

// fail breaks a connection off.
func (p *Pool) fail(c *conn, why error) {
	if c.state == dead {
		return
	}
	was := c.state
	c.state, c.gathered, c.closing = dead, nil, nil
	_ = syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_DEL, c.fd, nil)
	_ = syscall.Shutdown(c.fd, syscall.SHUT_RDWR)
	if was == ready {
		p.problems[why.Error()]++
	} else {
		p.failed(why)
	}
}
