package session

import (
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"fleetwire/pkg/auth"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/publish"
)

// slowVerify makes refreshes wait. begun has one for each that is being checked.
func (w *world) slowVerify() (begun chan struct{}, end func()) {
	begun, ended := make(chan struct{}, 100), make(chan struct{})
	verify := *w.verify.Load()
	w.verifyWith(func(token, origin string) (*auth.Grant, *protocol.CloseError) {
		begun <- struct{}{}
		<-ended
		return verify(token, origin)
	})
	end = sync.OnceFunc(func() { close(ended) })
	w.t.Cleanup(end)
	return begun, end
}

// HOSTILE: a token takes long to check. The connection's further frames wait for it, in
// order; the other connections of its loop do not.
func TestTokensAreCheckedOffTheLoop(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	var others []*peer
	for range 10 {
		others = append(others, w.connect(w.grant("device-2")))
	}
	begun, end := w.slowVerify()
	p.write(join(refresh("no token"), text(`{"type":"publish","channel":"devices/a","data":1}`)), text(ping))
	<-begun
	for _, o := range others {
		o.want(alive)
	}
	if n := len(w.publisher.published()); n != 0 {
		t.Errorf("%d messages published while the token is checked", n)
	}
	end()
	p.want(anError(protocol.InvalidToken, "f"), aText(pong))
	if n := len(w.publisher.published()); n != 1 {
		t.Errorf("%d messages published, want 1", n)
	}
}

// A connection whose frames wait can be closed.
func TestClosedWhileFramesWait(t *testing.T) {
	for name, tt := range map[string]struct {
		close func(*peer)
		want  string
	}{
		"by the node": {func(p *peer) {
			p.session.Close(protocol.Closef(protocol.CloseDisconnected, ""))
			p.want(aClose(4020, ""))
		}, "server"},
		"by the peer":    {func(p *peer) { p.write(closing(1000, "")) }, "peer"},
		"by the network": {func(p *peer) { check(p.t, p.conn.SetLinger(0)); check(p.t, p.conn.Close()) }, "network"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.connect(w.grant("device-1"))
			begun, end := w.slowVerify()
			p.write(refresh("no token"))
			<-begun
			tt.close(p)
			if tt.want == "server" {
				p.wait()
			}
			end()
			if ended := p.wait(); ended.By != tt.want {
				t.Errorf("ended by %s, want %s", ended.By, tt.want)
			}
		})
	}
}

// A turn ends when its time is over, though there are frames left in the buffer.
func TestOneTurnTakesItsTime(t *testing.T) {
	w := newWorld(t)
	took := turnLimit
	w.publisher.answer = func(publish.Message) (publish.Result, *protocol.Error) {
		w.clock.advance(took)
		return publish.Result{}, nil
	}
	p, server := w.dial(wiring{})
	defer p.conn.Close()
	frames := strings.Repeat(string(text(`{"type":"publish","channel":"devices/a","data":1}`)), 8)
	s, err := New(&w.opt, 1, w.grant("device-1"), server, "", []byte(frames), nil)
	check(t, err)
	defer s.sock.close()
	for turn, want := range []int{1, 2, 4, 6, 8} {
		if turn == 2 {
			took = turnLimit/2 + 1
		}
		s.turn(false, false)
		if n := len(w.publisher.published()); n != want {
			t.Fatalf("%d messages published after %d turns, want %d", n, turn+1, want)
		}
	}
	if s.in.buffer != nil || s.impatient {
		t.Error("there seem to be frames left")
	}
}

// The same on a connection that is served: each frame is answered, in order.
func TestTurnsGoOn(t *testing.T) {
	w := newWorld(t)
	w.publisher.answer = func(publish.Message) (publish.Result, *protocol.Error) {
		w.clock.advance(turnLimit)
		return publish.Result{}, nil
	}
	p := w.connect(w.grant("device-1"))
	var all []byte
	for _, id := range "abcdefgh" {
		all = append(all, text(`{"type":"publish","channel":"devices/a","data":1,"requestId":"`+string(id)+`"}`)...)
	}
	p.write(all[:len(all)-5], all[len(all)-5:])
	for _, id := range "abcdefgh" {
		p.want(anAck(string(id)))
	}
	p.write(frame{op: ws.OpPing, payload: "x"}.bytes())
	p.want(aPongFrame("x"))
}
