package conn

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
)

const stalledReason = "slow consumer: it took nothing for 30s"

// stall wires a peer that does not read to a connection that has size bytes for it, in
// one frame.
func (w *world) stall(size int) (p *peer, body []byte) {
	w.t.Helper()
	p = w.wire(wiring{serverBuffer: 16 << 10, peerBuffer: 16 << 10})
	body = []byte(messageOf(size))
	if p.conn.AppendUncounted(framed(string(body))) {
		p.conn.Flush()
	}
	// The peer's kernel takes a little, which is over when nothing changes from message to message.
	for same, before := 0, 0; same < 5; {
		p.takesMessage()
		if n := p.unsent(); n == before {
			same++
		} else {
			same, before = 0, n
		}
	}
	return p, body
}

// takesMessage has the connection take a message, and returns when it has.
func (p *peer) takesMessage() {
	p.TB.Helper()
	n := p.messages.Load()
	p.Write(text(quiet))
	for p.messages.Load() == n {
		runtime.Gosched()
	}
}

// HOSTILE: a peer that pings but does not read. Its snapshot counts against no bound,
// so time has to: it is closed when it took nothing for 30 s, and not before.
func TestStalledPeer(t *testing.T) {
	for name, size := range map[string]int{"a snapshot over the bound": 3 << 20, "less than the bound": 400 << 10} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p, body := w.stall(size)
			alive := func(d time.Duration) {
				t.Helper()
				p.takesMessage()
				w.clock.advance(d)
				p.conn.KeepAlive(w.clock.ticks())
				if c := p.conn.out.closeSent(); c != nil {
					t.Fatalf("closed with %v", c)
				}
			}
			alive(0)
			alive(protocol.PingInterval)
			alive(protocol.StallLimit - protocol.PingInterval - time.Second)
			p.takesMessage()
			w.clock.advance(time.Second)
			p.conn.KeepAlive(w.clock.ticks())
			if c := p.conn.out.closeSent(); c == nil || c.Code != 1008 || c.Reason != stalledReason {
				t.Fatalf("after 30 s in which it took nothing: %v", c)
			}
			if n := p.unsent(); n > size {
				t.Errorf("%d bytes wait for it, more than the frame that has begun", n)
			}
			// If it reads after all, it finds a whole frame and then why.
			if op, got := p.Read(); op != ws.OpText || !bytes.Equal(got, body) {
				t.Fatalf("got frame %x of %d bytes, want the one of %d", op, len(got), len(body))
			}
			p.Want(aClose(1008, stalledReason))
			if e := p.wait(); e != (Ended{"server", 1008, stalledReason}) {
				t.Errorf("ended %+v", e)
			}
		})
	}
}

// A peer that reads slowly is none that does not read.
func TestSlowIsNotStalled(t *testing.T) {
	w := newWorld(t)
	p, body := w.stall(3 << 20)
	for p.unsent() > len(body)/2 {
		w.clock.advance(protocol.PingInterval)
		p.takesMessage()
		p.conn.KeepAlive(w.clock.ticks())
		w.clock.advance(time.Second)
		for before := p.unsent(); p.unsent() == before; { // until the socket takes some
			if _, err := p.In.Discard(1 << 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.clock.advance(protocol.PingInterval)
	p.takesMessage()
	p.conn.KeepAlive(w.clock.ticks())
	if c := p.conn.out.closeSent(); c != nil {
		t.Fatalf("closed with %v, though it reads", c)
	}
}

// A peer that is stalled for 30 s between two KeepAlives does not have the time until the
// next, and one that has read all is not closed by what was foreseen.
func TestStalledBetweenCalls(t *testing.T) {
	const before = 10 * time.Millisecond
	w := newWorld(t)
	stalled, _ := w.stall(3 << 20)
	reads, _ := w.stall(3 << 20)
	now := w.clock.ticks() + protocol.StallLimit - before
	w.clock.advance(protocol.StallLimit) // as the node's clock is when what it foresaw comes
	stalled.takesMessage()
	stalled.conn.KeepAlive(now)
	for stalled.conn.out.closeSent() == nil {
		runtime.Gosched()
	}
	reads.takesMessage()
	reads.Read()
	if reads.conn.closeIfStalled(w.clock.ticks()) {
		t.Error("closed, though it has read everything")
	}
	reads.Want(alive)
}
