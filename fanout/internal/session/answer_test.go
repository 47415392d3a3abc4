package session

import (
	"io"
	"testing"

	"fleetwire/pkg/protocol"
)

const upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

// The answer to the upgrade request comes before all frames, whatever becomes of
// the connection, and in one write with the first: that wakes a device once.
func TestTheAnswerToTheUpgradeComesFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		begin func(w *world, p *peer)
		want  []func(*peer)
	}{
		"let in": {func(_ *world, p *peer) { p.session.Start() }, []func(*peer){(*peer).wantWelcome}},
		"let in, with a frame that came meanwhile": {func(_ *world, p *peer) {
			p.session.sendFrame(protocol.AppendTextFrame(nil, []byte(`{"type":"pong"}`)))
			p.session.Start()
		}, []func(*peer){(*peer).wantWelcome, func(p *peer) { p.want(aText(pong)) }}},
		"refused after it was known": {func(_ *world, p *peer) {
			p.register()
			p.session.Refuse(protocol.Closef(protocol.CloseConnectionLimit, "full"))
		}, []func(*peer){func(p *peer) { p.want(aClose(4010, "full")) }}},
		"too much came meanwhile": {func(_ *world, p *peer) {
			p.session.sendFrame(make([]byte, protocol.UnsentBytesLimit))
			p.session.Start()
		}, []func(*peer){func(p *peer) { p.want(aClose(1008, "slow consumer")) }}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p, server := w.dial(wiring{})
			s, err := New(&w.opt, 1, w.grant("device-1"), server, "", nil, []byte(upgraded))
			check(t, err)
			p.session = s
			p.starts(func() { w.peers.Store(s.id, p) })
			writes := countWrites(t, s)
			tt.begin(w, p)
			p.wantUpgraded()
			for _, want := range tt.want {
				want(p)
			}
			if n := writes.Load(); n != 1 {
				t.Errorf("%d writes, want one", n)
			}
		})
	}
	t.Run("refused at once", func(t *testing.T) {
		w := newWorld(t)
		p, server := w.dial(wiring{})
		p.starts(func() { w.refused = p })
		check(t, Refuse(&w.opt, server, nil, []byte(upgraded), protocol.Closef(protocol.CloseExpired, "token expired")))
		p.wantUpgraded()
		p.want(aClose(4002, "token expired"))
	})
}

func (p *peer) wantUpgraded() {
	p.t.Helper()
	got := make([]byte, len(upgraded))
	if _, err := io.ReadFull(p.in, got); err != nil || string(got) != upgraded {
		p.t.Fatalf("got %q (%v), want the answer to the upgrade", got, err)
	}
}
