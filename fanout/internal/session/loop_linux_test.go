//go:build linux && !goroutines

package session

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

const goroutinesEach = 0

func wantSocketClosed(t *testing.T, s *Session) {
	t.Helper()
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.sock.fd >= 0 || s.sock.slot != 0 {
		t.Fatalf("the socket is still open: descriptor %d, slot %d", s.sock.fd, s.sock.slot)
	}
}

func setWriteBuffer(t *testing.T, s *Session, size int) {
	t.Helper()
	check(t, unix.SetsockoptInt(int(s.sock.fd), unix.SOL_SOCKET, unix.SO_SNDBUF, size))
	// Or the kernel takes less while it cannot send at once, as on a busy machine.
	check(t, unix.SetsockoptInt(int(s.sock.fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, size))
}

// countWrites counts the session's writes from now on.
func countWrites(t *testing.T, s *Session) *atomic.Int32 {
	n := new(atomic.Int32)
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	writing, counted := write, int(s.sock.fd)
	write = func(fd int, b []byte) (int, error) {
		if fd == counted {
			n.Add(1)
		}
		return writing(fd, b)
	}
	t.Cleanup(func() {
		s.out.mu.Lock()
		defer s.out.mu.Unlock()
		write = writing
	})
	return n
}

// A connection that waits for something to read holds no buffer, unless it has
// read part of a frame.
func TestWaitingHoldsNoBuffer(t *testing.T) {
	w := newWorld(t)
	p, server := w.dial(wiring{})
	defer p.conn.Close()
	s, err := New(&w.opt, 1, w.grant("device-1"), server, "", nil, nil)
	check(t, err)
	defer s.sock.close()
	nothing := func() {
		t.Helper()
		if err := s.fill(); err != errNothing {
			t.Errorf("error %v, where there is nothing to read", err)
		}
	}
	nothing()
	if s.in.buffer != nil || s.in.pooled != nil {
		t.Error("a buffer is held while there is nothing in it")
	}
	p.write([]byte{0x81})
	for err = s.fill(); err == errNothing; {
		err = s.fill()
	}
	check(t, err)
	nothing()
	if b := s.in.bytes(); len(b) != 1 || b[0] != 0x81 {
		t.Errorf("holds % x, want the byte that has come", b)
	}
	s.in.consume(1)
	nothing()
	if s.in.buffer != nil {
		t.Error("the buffer is still held")
	}
}

// HOSTILE: a peer that sends more than can be done at once. It gets its turns as
// everybody does, and a turn is one buffer.
func TestOneTurnIsOneBuffer(t *testing.T) {
	w := newWorld(t)
	p, server := w.dial(wiring{})
	defer p.conn.Close()
	s, err := New(&w.opt, 1, w.grant("flood"), server, "", nil, nil)
	check(t, err)
	defer s.sock.close()
	pongs := bytes.Repeat(frame{op: ws.OpPong, payload: strings.Repeat("p", 58)}.bytes(), 1000) // 64 bytes each
	p.write(pongs)
	for waits := 0; waits < len(pongs); {
		waits, err = unix.IoctlGetInt(int(s.sock.fd), unix.SIOCINQ)
		check(t, err)
	}
	for turn := uint64(1); turn <= 3; turn++ {
		s.turn(true, false)
		if want := turn * readBufferSize / 64; s.received != want {
			t.Fatalf("%d frames after %d turns, want %d", s.received, turn, want)
		}
	}
}

// Slots are given to sessions again, and events reach the session that has them.
func TestSlotsAreUsedAgain(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		var peers []*peer
		for i := range 10 {
			p := w.connect(w.grant(fmt.Sprint("device-", i)))
			p.want(alive)
			peers = append(peers, p)
		}
		for i, p := range peers {
			if i%2 == 0 {
				p.write(closing(1000, ""))
				p.want(aClose(1000, ""))
			} else {
				check(t, p.conn.Close())
			}
			p.wait()
		}
	}
	for _, l := range w.opt.Conn.Loops.loops {
		if n := len(l.slots); n > 11 || len(l.free) != n-1 {
			t.Errorf("%d slots, %d of them free, after never more than 10 sessions", n, len(l.free))
		}
	}
}
