//go:build unix

package session

import (
	"bytes"
	"sync/atomic"
	"syscall"
	"testing"
)

// countedWrites counts the writes to a socket.
type countedWrites struct {
	syscall.RawConn
	n atomic.Int32
}

func (c *countedWrites) Write(f func(uintptr) bool) error {
	c.n.Add(1)
	return c.RawConn.Write(f)
}

func countWrites(to **countedWrites) func(*Session) {
	return func(s *Session) {
		*to = &countedWrites{RawConn: s.sock.raw}
		s.sock.raw = *to
	}
}

// All that is queued goes out in one write, up to 64 KiB.
func TestOneWriteForAllThatIsQueued(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name         string
		frames, size int
		writes       int32
	}{
		{"one frame", 1, 100, 1},
		{"100 frames", 100, 100, 1},
		{"one large frame", 1, 200_000, 1},
		{"163 KB in small frames", 1000, 74, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var writes *countedWrites
			p := w.wire(w.grant("device-1"), wiring{prepare: countWrites(&writes)})
			p.wantWelcome()
			check(t, p.session.sock.conn.SetWriteBuffer(1<<20))
			check(t, p.conn.SetReadBuffer(1<<20))
			p.want(alive)
			before, size := writes.n.Load(), 0
			for i := range tt.frames {
				d := numbered(i, tt.size)
				size += len(d.Frame)
				p.session.Append(d.Frame, uint64(i+1))
			}
			p.session.Flush()
			if n := writes.n.Load() - before; n != tt.writes {
				t.Errorf("%d writes for %d bytes in %d frames, want %d", n, size, tt.frames, tt.writes)
			}
			for range tt.frames {
				p.read()
			}
		})
	}
}

// The answers to everything that one read brought go out together.
func TestOneWriteForAllAnswers(t *testing.T) {
	w := newWorld(t)
	var writes *countedWrites
	p := w.wire(w.grant("device-1"), wiring{prepare: countWrites(&writes)})
	p.wantWelcome()
	p.want(alive)
	before := writes.n.Load()
	p.write(bytes.Repeat(text(ping), 100)) // 2.1 kB: one segment, one read
	for range 100 {
		p.want(aText(pong))
	}
	if n := writes.n.Load() - before; n != 1 {
		t.Errorf("%d writes for 100 answers, want 1", n)
	}
}

// A connection that waits for something to read holds no buffer, unless it has
// read part of a frame.
func TestWaitingHoldsNoBuffer(t *testing.T) {
	peer, conn := tcpPair(t)
	defer peer.Close()
	defer conn.Close()
	sock, err := newSocket(conn)
	check(t, err)
	r := &reader{}
	sock.reader = r
	nothing := func() {
		t.Helper()
		check(t, sock.raw.Control(func(fd uintptr) {
			if sock.onReadable(fd) {
				t.Errorf("read %d bytes, error %v, where there is nothing", sock.n, sock.err)
			}
		}))
	}
	nothing()
	if r.buffer != nil || r.pooled != nil {
		t.Error("a buffer is held while there is nothing in it")
	}
	_, err = peer.Write([]byte{0x81})
	check(t, err)
	n, err := sock.read(r)
	check(t, err)
	r.end += n
	nothing()
	if b := r.bytes(); len(b) != 1 || b[0] != 0x81 {
		t.Errorf("holds % x, want the byte that has come", b)
	}
	r.consume(1)
	nothing()
	if r.buffer != nil {
		t.Error("the buffer is still held")
	}
}
