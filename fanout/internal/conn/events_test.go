package conn

import (
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
)

// A connection leaves its loop to others when its time is over, though there are frames
// left in the buffer.
func TestTimeSlice(t *testing.T) {
	w := newWorld(t)
	took := timeSlice
	w.take = func(*peer, []byte) { w.clock.advance(took) }
	p := w.open(wiring{early: []byte(strings.Repeat(string(text(ping)), 8))})
	defer p.conn.sock.close()
	for call, want := range []int32{1, 2, 4, 6, 8} {
		if call == 2 {
			took = timeSlice/2 + 1
		}
		p.conn.handleEvents(false, false)
		if n := p.messages.Load(); n != want {
			t.Fatalf("%d messages taken after %d calls, want %d", n, call+1, want)
		}
	}
	if p.conn.in.buffer != nil || p.conn.buffered {
		t.Error("there seem to be frames left")
	}
}

// The same on a connection that is served: each frame is answered, in order.
func TestTimeSlicesGoOn(t *testing.T) {
	w := newWorld(t)
	w.take = func(p *peer, message []byte) {
		w.clock.advance(timeSlice)
		p.conn.Send(func(dst []byte) []byte { return append(dst, message...) })
	}
	p := w.connect()
	var all []byte
	for _, id := range "abcdefgh" {
		all = append(all, text(string(id))...)
	}
	p.Write(all[:len(all)-5], all[len(all)-5:])
	for _, id := range "abcdefgh" {
		p.Want(aText(string(id)))
	}
	p.Write(pingFrame("x"))
	p.Want(aPongFrame("x"))
}

// HOSTILE: a message that makes a handler panic costs its sender the connection, and
// nobody else anything.
func TestPanicEndsItsConnectionAlone(t *testing.T) {
	w := newWorld(t)
	w.take = func(p *peer, message []byte) {
		if string(message) != ping {
			panic("a bug, with details that are nobody's business")
		}
		p.conn.Send(func(dst []byte) []byte { return append(dst, message...) })
	}
	other, p := w.connect(), w.connect()
	p.Write(text(`"boom"`))
	p.Want(aClose(1011, "internal error"))
	if e := p.wait(); e != (Ended{"server", protocol.CloseInternalError, "internal error"}) || p.endings.Load() != 1 {
		t.Errorf("ended %+v, Ending was called %d times", e, p.endings.Load())
	}
	other.Want(alive)
}
