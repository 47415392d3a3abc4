package conn

import (
	"testing"

	"fleetwire/clients/go/protocol"
)

// pausing has each message wait on another goroutine until end is called. begun has one
// for each that does.
func (w *world) pausing() (begun chan struct{}, end func()) {
	begun, ended := make(chan struct{}, 100), make(chan struct{})
	w.take = func(p *peer, message []byte) {
		p.conn.Pause()
		answer := string(message)
		go func() {
			defer p.conn.Resume()
			begun <- struct{}{}
			<-ended
			p.conn.Send(func(dst []byte) []byte { return append(dst, answer...) })
			p.conn.Flush()
		}()
	}
	return begun, func() { close(ended) }
}

// A connection's further frames wait while it is paused, in order.
func TestFramesWaitInOrder(t *testing.T) {
	w := newWorld(t)
	begun, end := w.pausing()
	p := w.connect()
	p.Write(join(text("1"), pingFrame("2")), text("3"))
	<-begun
	if n := p.messages.Load(); n != 1 {
		t.Errorf("%d messages taken, want 1", n)
	}
	end()
	p.Want(aText("1"), aPongFrame("2"), aText("3"))
}

// A connection whose frames wait can be closed.
func TestClosedWhileFramesWait(t *testing.T) {
	for by, close := range map[string]func(*peer){
		"server": func(p *peer) {
			p.conn.Close(protocol.Closef(protocol.CloseDisconnected, ""))
			p.Want(aClose(4020, ""))
			p.wait()
		},
		"peer":    func(p *peer) { p.Write(closing(1000, "")) },
		"network": func(p *peer) { check(p.TB, p.Conn.SetLinger(0)); check(p.TB, p.Conn.Close()) },
	} {
		t.Run("by the "+by, func(t *testing.T) {
			w := newWorld(t)
			begun, end := w.pausing()
			p := w.connect()
			p.Write(text(ping))
			<-begun
			close(p)
			end()
			if ended := p.wait(); ended.By != by {
				t.Errorf("ended by %s, want %s", ended.By, by)
			}
		})
	}
}
