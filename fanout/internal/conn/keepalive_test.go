package conn

import (
	"runtime"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
)

// Protocol §4.5, 4000.
func TestKeepAlive(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	for range 2 { // unanswered
		w.clock.advance(protocol.PingInterval)
		p.conn.KeepAlive(w.clock.ticks())
		p.Want(conntest.WantPing)
	}
	p.Write(frame{Op: ws.OpPong}.Bytes())
	p.Want(alive) // heard of at 50 s
	for range 2 {
		w.clock.advance(protocol.PingInterval)
		p.conn.KeepAlive(w.clock.ticks())
		p.Want(conntest.WantPing)
	}
	w.clock.advance(protocol.PingInterval - time.Second)
	p.conn.KeepAlive(w.clock.ticks()) // 74 s
	p.Want(conntest.WantPing)
	w.clock.advance(time.Second)
	p.conn.KeepAlive(w.clock.ticks()) // 75 s
	p.Want(aClose(4000, "nothing heard from you for 75 s"))
	if e := p.wait(); e != (Ended{"server", 4000, "nothing heard from you for 75 s"}) {
		t.Errorf("ended %+v", e)
	}
	p.conn.KeepAlive(w.clock.ticks()) // of no effect any more
}

// A peer that falls silent right after a KeepAlive does not have until the one after the
// limit, which would be 25 s late.
func TestKeepAliveClosesBetweenCalls(t *testing.T) {
	const before = 10 * time.Millisecond
	w := newWorld(t)
	silent, heard := w.connect(), w.connect()
	now := w.clock.ticks() + protocol.InactivityLimit - before
	w.clock.advance(protocol.InactivityLimit)
	for _, p := range []*peer{silent, heard} {
		p.conn.KeepAlive(now)
		p.Want(conntest.WantPing)
	}
	heard.Write(frame{Op: ws.OpPong}.Bytes())
	heard.Want(alive)
	silent.Want(aClose(4000, "nothing heard from you for 75 s"))
	if heard.conn.closeIfInactive(w.clock.ticks()) {
		t.Error("closed, though it was heard of meanwhile")
	}
	heard.Want(alive)
}

// Half a frame is a sign of life as well.
func TestKeepAliveCountsBytes(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	frame := text(ping)
	w.clock.advance(70 * time.Second)
	p.Write(frame[:3])
	for p.conn.lastRead.Load() != int32(w.clock.ticks()/time.Second) {
		runtime.Gosched()
	}
	w.clock.advance(70 * time.Second)
	p.conn.KeepAlive(w.clock.ticks())
	if p.PeekOp() != ws.OpPing {
		t.Fatal("closed, though something was heard 70 s ago")
	}
	p.Read()
	p.Write(frame[3:])
	p.Want(aText(ping))
}
