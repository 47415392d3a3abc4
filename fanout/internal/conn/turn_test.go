package conn

import (
	"strings"
	"testing"

	"fleetwire/pkg/protocol"
)

// A turn ends when its time is over, though there are frames left in the buffer.
func TestOneTurnTakesItsTime(t *testing.T) {
	w := newWorld(t)
	took := turnLimit
	w.take = func(*peer, []byte) { w.clock.advance(took) }
	p := w.open(wiring{early: []byte(strings.Repeat(string(text(ping)), 8))})
	defer p.conn.sock.close()
	for turn, want := range []int32{1, 2, 4, 6, 8} {
		if turn == 2 {
			took = turnLimit/2 + 1
		}
		p.conn.turn(false, false)
		if n := p.messages.Load(); n != want {
			t.Fatalf("%d messages taken after %d turns, want %d", n, turn+1, want)
		}
	}
	if p.conn.in.buffer != nil || p.conn.impatient {
		t.Error("there seem to be frames left")
	}
}

// The same on a connection that is served: each frame is answered, in order.
func TestTurnsGoOn(t *testing.T) {
	w := newWorld(t)
	w.take = func(p *peer, message []byte) {
		w.clock.advance(turnLimit)
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
