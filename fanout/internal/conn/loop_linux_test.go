//go:build linux && !goroutines

package conn

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

const goroutinesEach = 0

func wantSocketClosed(t *testing.T, c *Conn) {
	t.Helper()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.sock.fd >= 0 || c.sock.slot != 0 {
		t.Fatalf("the socket is still open: descriptor %d, slot %d", c.sock.fd, c.sock.slot)
	}
}

func setWriteBuffer(t *testing.T, c *Conn, size int) {
	t.Helper()
	check(t, unix.SetsockoptInt(int(c.sock.fd), unix.SOL_SOCKET, unix.SO_SNDBUF, size))
	// Or the kernel takes less while it cannot send at once, as on a busy machine.
	check(t, unix.SetsockoptInt(int(c.sock.fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, size))
}

// countWrites counts the connection's writes from now on.
func countWrites(t *testing.T, c *Conn) *atomic.Int32 {
	n := new(atomic.Int32)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	writing, counted := write, int(c.sock.fd)
	write = func(fd int, b []byte) (int, error) {
		if fd == counted {
			n.Add(1)
		}
		return writing(fd, b)
	}
	t.Cleanup(func() {
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		write = writing
	})
	return n
}

// A connection that waits for something to read holds no buffer, unless it has
// read part of a frame.
func TestWaitingHoldsNoBuffer(t *testing.T) {
	w := newWorld(t)
	p := w.open(wiring{})
	c := &p.conn
	defer c.sock.close()
	nothing := func() {
		t.Helper()
		if err := c.fill(); err != errNothing {
			t.Errorf("error %v, where there is nothing to read", err)
		}
	}
	nothing()
	if c.in.buffer != nil || c.in.pooled != nil {
		t.Error("a buffer is held while there is nothing in it")
	}
	p.Write([]byte{0x81})
	err := c.fill()
	for err == errNothing {
		err = c.fill()
	}
	check(t, err)
	nothing()
	if b := c.in.bytes(); len(b) != 1 || b[0] != 0x81 {
		t.Errorf("holds % x, want the byte that has come", b)
	}
	c.in.consume(1)
	nothing()
	if c.in.buffer != nil {
		t.Error("the buffer is still held")
	}
}

// HOSTILE: a peer that sends more than can be done at once. The loop serves it as it does
// others, one buffer at a time.
func TestOneBufferAtATime(t *testing.T) {
	w := newWorld(t)
	p := w.open(wiring{})
	c := &p.conn
	defer c.sock.close()
	pongs := bytes.Repeat(frame{Op: ws.OpPong, Payload: strings.Repeat("p", 58)}.Bytes(), 1000) // 64 bytes each
	p.Write(pongs)
	for waits := 0; waits < len(pongs); {
		var err error
		waits, err = unix.IoctlGetInt(int(c.sock.fd), unix.SIOCINQ)
		check(t, err)
	}
	for call := uint64(1); call <= 3; call++ {
		c.handleEvents(true, false)
		if want := call * readBufferSize / 64; c.received != want {
			t.Fatalf("%d frames after %d calls, want %d", c.received, call, want)
		}
	}
}

// Slots are given to connections again, and events reach the connection that has them.
func TestSlotsAreUsedAgain(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		var peers []*peer
		for range 10 {
			p := w.connect()
			p.Want(alive)
			peers = append(peers, p)
		}
		for i, p := range peers {
			if i%2 == 0 {
				p.Write(closing(1000, ""))
				p.Want(aClose(1000, ""))
			} else {
				check(t, p.Conn.Close())
			}
			p.wait()
		}
	}
	for _, l := range w.opt.Loops.loops {
		if n := len(l.slots); n > 11 || len(l.free) != n-1 {
			t.Errorf("%d slots, %d of them free, after never more than 10 connections", n, len(l.free))
		}
	}
}
