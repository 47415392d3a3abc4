package conn

import (
	"testing"

	"fleetwire/clients/go/protocol"
)

// Frames behind a Hold wait for as many Releases as there were Holds. Everything else
// goes on.
func TestHold(t *testing.T) {
	var one, two Hold
	var sequence uint64
	w := newWorld(t)
	p := w.connect()
	behind := func(h *Hold, message string) {
		t.Helper()
		sequence++
		queued, flush := p.conn.AppendBehind(h, framed(message), sequence)
		if again, _ := p.conn.AppendBehind(h, framed(message), sequence); !queued || again {
			t.Errorf("queued %v, and again %v; want it once", queued, again)
		}
		if flush {
			p.conn.Flush()
		}
	}
	release := func(h *Hold) {
		if p.conn.Release(h) {
			p.conn.Flush()
		}
	}
	p.conn.Hold(&one)
	p.conn.Hold(&one)
	p.conn.Hold(&two)
	behind(&one, "1")
	behind(&two, "2")
	behind(&one, "3")
	p.Want(alive)
	release(&one)
	p.Want(alive)
	release(&two)
	p.Want(aText("2"), alive)
	behind(&two, "4") // which does not hold any more
	p.Want(aText("4"), alive)
	release(&one)
	p.Want(aText("1"), aText("3"), alive)

	p.conn.Hold(&one)
	release(&one) // nothing waits
	p.conn.Hold(&one)
	behind(&one, "5")
	release(&one)
	p.Want(aText("5"), alive)
	if p.conn.out.held != nil {
		t.Error("something is held still")
	}
}

// Nothing waits for too long, in too great a number, or until the connection has ended.
func TestWhatEndsAHold(t *testing.T) {
	large := messageOf(60 << 10)
	for name, tt := range map[string]struct {
		end  func(p *peer, h *Hold)
		want []want
	}{
		"time": {func(p *peer, h *Hold) {
			waiting := h.held
			p.conn.timeOut(waiting)
			p.conn.timeOut(waiting) // it may already have been running when it was stopped
		}, []want{aText("1"), aText("last"), alive}},
		"too much": {func(p *peer, h *Hold) {
			if _, flush := p.conn.AppendBehind(h, framed(large), 2); flush {
				p.TB.Error("the first large frame does not wait")
			}
			if _, flush := p.conn.AppendBehind(h, framed(large), 3); !flush {
				p.TB.Error("the second large frame waits")
			}
		}, []want{aText("1"), aText(large), aText(large), aText("last"), alive}},
		"a close": {func(p *peer, _ *Hold) {
			p.conn.Close(protocol.Closef(protocol.CloseGoingAway, ""))
		}, []want{aText("1"), aClose(1001, "")}},
	} {
		t.Run(name, func(t *testing.T) {
			var h, other Hold
			w := newWorld(t)
			p := w.connect()
			p.conn.Hold(&h)
			p.conn.Hold(&other)
			p.conn.AppendBehind(&h, framed("1"), 1)
			tt.end(p, &h)
			p.conn.AppendBehind(&h, framed("last"), 9)
			p.conn.Flush()
			p.Want(tt.want...)
			// A Release that comes after all is the end of the Hold all the same.
			p.conn.Release(&h)
			if h.held != nil || p.conn.out.held != other.held {
				t.Error("the Hold is held still")
			}
		})
	}
}

// A frame may be larger than what may be unsent otherwise; a peer that reads it gets it
// whole, and what is queued behind it. One that does not read is closed all the same
// when other frames pass the bound.
func TestUncountedFrameOverTheBound(t *testing.T) {
	body, behind := messageOf(4<<20), messageOf(300<<10)
	message := framed(behind)
	small := wiring{serverBuffer: 16 << 10, peerBuffer: 16 << 10}
	w := newWorld(t)
	p := w.wire(small)
	p.conn.AppendUncounted(framed(body))
	p.conn.Flush()
	if queued, _ := p.conn.Append(message, 1); !queued {
		t.Fatal("a frame behind the large one is not queued")
	}
	p.Want(aText(body), aText(behind))
	// That was for the large one alone: now it stops reading.
	queued := 0
	for i := uint64(2); p.conn.out.closeSent() == nil; i++ {
		if ok, _ := p.conn.Append(message, i); ok {
			queued += len(message)
		}
		p.conn.Flush()
	}
	if queued > 2*protocol.UnsentBytesLimit {
		t.Errorf("%d bytes were queued for a peer that does not read", queued)
	}

	slow := w.wire(small)
	slow.conn.AppendUncounted(framed(body))
	for i := range uint64(6) { // 1.8 MB
		slow.conn.Append(message, i+1)
		slow.conn.Flush()
	}
	if slow.conn.out.closeSent() == nil {
		t.Error("a peer that does not read is not closed")
	}
}
