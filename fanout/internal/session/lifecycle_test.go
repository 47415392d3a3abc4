package session

import (
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish"
)

// Protocol §4.1, to the byte.
func TestWelcome(t *testing.T) {
	w := newWorld(t)
	full := w.grant("device-camera-001")
	full.ExpiresAt = w.clock.in(time.Hour)
	full.Metadata = []byte(`{"site":"north","n":1.0}`)
	full.PeerMetadata = []byte(`{"shown":"to others"}`)
	empty := w.grant("device")
	empty.ExpiresAt = time.Unix(1767229200, 999_000_000)
	empty.Metadata = []byte(`{}`)
	for _, tt := range []struct {
		p    *peer
		want string
	}{
		{w.start(full, nil), `{"type":"welcome","peerId":"device-camera-001","expiresAt":1767229200,"serverTime":1767225600,"maxMessageSize":65536,"metadata":{"site":"north","n":1.0}}`},
		{w.start(empty, nil), `{"type":"welcome","peerId":"device","expiresAt":1767229200,"serverTime":1767225600,"maxMessageSize":65536,"metadata":{}}`},
		{w.start(w.grant("anon_0123456789abcdefghijkl"), nil), `{"type":"welcome","peerId":"anon_0123456789abcdefghijkl","expiresAt":null,"serverTime":1767225600,"maxMessageSize":65536}`},
		{w.start(w.grant(`a "quoted\" peer`), nil), `{"type":"welcome","peerId":"a \"quoted\\\" peer","expiresAt":null,"serverTime":1767225600,"maxMessageSize":65536}`},
	} {
		tt.p.Want(aText(tt.want), alive)
	}
}

func TestExpiry(t *testing.T) {
	w := newWorld(t)
	for name, left := range map[string]time.Duration{
		"soon":                      protocol.ExpiryLead + 30*time.Millisecond,
		"within the lead already":   protocol.ExpiryLead / 2,
		"past before it could run":  -time.Minute,
		"exactly the lead from now": protocol.ExpiryLead,
	} {
		t.Run(name, func(t *testing.T) {
			grant := w.grant("device-1")
			begin := time.Now() // before the time that is left is measured from
			grant.ExpiresAt = w.clock.in(left)
			p := w.start(grant, nil)
			if p.PeekOp() == ws.OpText { // if there was time for one
				p.Want(aWelcome)
			}
			p.Want(aClose(4002, "token expired"))
			if took, least := time.Since(begin), left-protocol.ExpiryLead-10*time.Millisecond; took < least {
				t.Errorf("closed after %v, %v too early", took, least-took)
			}
			if e := p.wait(); e != (conn.Ended{By: "server", Code: 4002, Reason: "token expired"}) {
				t.Errorf("ended %+v", e)
			}
		})
	}
	grant := w.grant("device-1")
	grant.ExpiresAt = w.clock.in(time.Hour)
	p := w.connect(grant)
	p.Want(alive)
	p.Write(closing(1000, ""))
	p.Want(aClose(1000, "")) // and its timer has gone: TestMain looks for what is left
}

// Whoever gets hold of a session before it runs (a drain, a round of pings)
// cannot overtake its welcome.
func TestWelcomeComesFirst(t *testing.T) {
	w := newWorld(t)
	for name, before := range map[string]func(*Session){
		"going away": func(s *Session) { s.GoAway(time.Second) },
		"closing":    func(s *Session) { s.Close(protocol.Closef(protocol.CloseGoingAway, "")) },
		"a ping":     func(s *Session) { s.KeepAlive(w.clock.ticks()) },
	} {
		t.Run(name, func(t *testing.T) {
			p := w.start(w.grant("device-1"), before)
			p.Want(aWelcome)
			p.Read()
		})
	}
}

func TestGoAway(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	p.session.GoAway(1500*time.Millisecond + 999*time.Microsecond)
	p.Want(aText(`{"type":"going_away","retryAfterMs":1500}`), alive)
	p.session.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	p.Want(aClose(1001, "going away"))
}

// HOSTILE: a frame that makes a handler panic costs its sender the connection,
// and nobody else anything.
func TestPanicEndsItsConnectionAlone(t *testing.T) {
	w := newWorld(t)
	w.publisher.answer = func(m publish.Message) (publish.Result, *protocol.Error) {
		if m.Channel == "devices/boom" {
			panic("a bug, with details that are nobody's business")
		}
		return publish.Result{}, nil
	}
	other := w.connect(w.grant("other"))
	p := w.connect(w.grant("device-1"))
	p.Write(text(`{"type":"subscribe","channel":"devices/a","requestId":"r"}`))
	p.Want(anAck("r"))
	p.Write(text(`{"type":"publish","channel":"devices/boom","data":1,"requestId":"r"}`))
	p.Want(aClose(1011, "internal error"))
	if e := p.wait(); e != (conn.Ended{By: "server", Code: 1011, Reason: "internal error"}) {
		t.Errorf("ended %+v", e)
	}
	if n := w.interest.subscribersOf("devices/a"); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	if p.left.Load() != 1 {
		t.Error("left was not called")
	}
	if lines := w.log.lines("a connection panicked"); len(lines) != 1 || !strings.Contains(lines[0], "handlePublish") {
		t.Errorf("the log has no stack: %s", lines)
	}
	other.Want(alive)
}

func TestOneLogLinePerConnection(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("device-1")
	grant.Metadata = []byte(`{"secret":"hush-hush"}`)
	p := w.connect(grant)
	p.Want(alive)
	w.clock.advance(90 * time.Second)
	p.Write(closing(4321, "battery low\nforged line"))
	p.Want(aClose(4321, ""))
	p.wait()

	p = w.connect(grant)
	p.Write(text(`{"type":"refresh","token":"eyJhbGciOi.hush-hush.x"}`))
	p.Want(anError(protocol.InvalidToken, ""))
	w.clock.advance(90 * time.Second)
	p.session.KeepAlive(w.clock.ticks())
	p.Want(aClose(4000, ""))
	p.wait()

	lines := w.log.lines("")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want one a connection:\n%s", len(lines), strings.Join(lines, ""))
	}
	for _, want := range []string{`msg="connection ended"`, "app=app_test", "peer=device-1", "key=sk_test", "connection=1", "address=192.0.2.1",
		"by=peer", "code=4321", `reason="battery low\nforged line"`, "lasted=1m30s", "frames=2"} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("%s\nlacks %s", lines[0], want)
		}
	}
	for _, want := range []string{"by=server", "code=4000", `reason="nothing heard from you for 75 s"`} {
		if !strings.Contains(lines[1], want) {
			t.Errorf("%s\nlacks %s", lines[1], want)
		}
	}
	if n := len(w.log.lines("hush-hush")) + len(w.log.lines(w.key.Secret)); n > 0 {
		t.Error("a secret is in the log")
	}
}

func TestRefuse(t *testing.T) {
	w := newWorld(t)
	for name, early := range map[string][]byte{"nothing early": nil, "early frames": join(text(ping), text(ping)[:3]), "early rubbish": []byte("\xff\xff\xff")} {
		t.Run(name, func(t *testing.T) {
			p, server := w.dial()
			why := protocol.Closef(protocol.CloseInvalidCredential, "the token's kid is unknown or revoked")
			p.starts(func() { w.refused = p })
			check(t, Refuse(&w.opt, server, early, nil, why))
			p.Want(aClose(4001, "the token's kid is unknown or revoked"))
			p.WantEOF()
			if e := p.wait(); e.Code != 4001 {
				t.Errorf("ended %+v", e)
			}
		})
	}
}

func message(channelName, data string) []byte {
	return protocol.AppendMessage(nil, channelName, "sender", nil, []byte(data))
}

func delivery(channelName, data string) envelope.Delivery {
	return envelope.Delivery{App: "app_test", Channel: channelName, Frame: protocol.AppendTextFrame(nil, message(channelName, data))}
}
