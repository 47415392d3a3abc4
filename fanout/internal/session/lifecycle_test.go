package session

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/protocol"
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
		{w.wire(full, wiring{}), `{"type":"welcome","peerId":"device-camera-001","expiresAt":1767229200,"serverTime":1767225600,"maxMessageSize":65536,"metadata":{"site":"north","n":1.0}}`},
		{w.wire(empty, wiring{}), `{"type":"welcome","peerId":"device","expiresAt":1767229200,"serverTime":1767225600,"maxMessageSize":65536,"metadata":{}}`},
		{w.wire(w.grant("anon_0123456789abcdefghijkl"), wiring{}), `{"type":"welcome","peerId":"anon_0123456789abcdefghijkl","expiresAt":null,"serverTime":1767225600,"maxMessageSize":65536}`},
		{w.wire(w.grant(`a "quoted\" peer`), wiring{}), `{"type":"welcome","peerId":"a \"quoted\\\" peer","expiresAt":null,"serverTime":1767225600,"maxMessageSize":65536}`},
	} {
		tt.p.want(aText(tt.want), alive)
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
			grant.ExpiresAt = w.clock.in(left)
			p := w.wire(grant, wiring{})
			begin := time.Now()
			if p.peekOp() == ws.OpText { // if there was time for one
				p.wantWelcome()
			}
			p.want(aClose(4002, "token expired"))
			if took, least := time.Since(begin), left-protocol.ExpiryLead-10*time.Millisecond; took < least {
				t.Errorf("closed after %v, %v too early", took, least-took)
			}
			if e := p.wait(); e != (Ended{"server", 4002, "token expired"}) {
				t.Errorf("ended %+v", e)
			}
		})
	}
	grant := w.grant("device-1")
	grant.ExpiresAt = w.clock.in(time.Hour)
	p := w.connect(grant)
	p.want(alive)
	p.write(closing(1000, ""))
	p.want(aClose(1000, "")) // and its timer has gone: TestMain looks for what is left
}

// Protocol §4.5, 4000.
func TestKeepAlive(t *testing.T) {
	w := newWorld(t)
	serverPing := func(p *peer) {
		t.Helper()
		if op, payload := p.read(); op != ws.OpPing || len(payload) != 0 {
			t.Fatalf("got frame %x %q, want an empty ping", op, payload)
		}
	}
	p := w.connect(w.grant("device-1"))
	for range 2 { // unanswered
		w.clock.advance(protocol.PingInterval)
		p.session.KeepAlive(w.clock.ticks())
		p.want(serverPing)
	}
	p.write(frame{op: ws.OpPong}.bytes())
	p.want(alive) // heard of at 50 s
	for range 2 {
		w.clock.advance(protocol.PingInterval)
		p.session.KeepAlive(w.clock.ticks())
		p.want(serverPing)
	}
	w.clock.advance(protocol.PingInterval - time.Second)
	p.session.KeepAlive(w.clock.ticks()) // 74 s
	p.want(serverPing)
	w.clock.advance(time.Second)
	p.session.KeepAlive(w.clock.ticks()) // 75 s
	p.want(aClose(4000, "nothing heard from you for 75 s"))
	if e := p.wait(); e != (Ended{"server", 4000, "nothing heard from you for 75 s"}) {
		t.Errorf("ended %+v", e)
	}
	p.session.KeepAlive(w.clock.ticks()) // of no effect any more
}

// A peer that falls silent right after its turn is not given until the turn
// after the limit, which would be 25 s late.
func TestKeepAliveClosesBetweenTurns(t *testing.T) {
	const before = 10 * time.Millisecond
	w := newWorld(t)
	silent, heard := w.connect(w.grant("silent")), w.connect(w.grant("heard"))
	turn := w.clock.ticks() + protocol.InactivityLimit - before
	w.clock.advance(protocol.InactivityLimit)
	for _, p := range []*peer{silent, heard} {
		p.session.KeepAlive(turn)
		p.read() // the turn's ping
	}
	heard.write(frame{op: ws.OpPong}.bytes())
	heard.want(alive)
	silent.want(aClose(4000, "nothing heard from you for 75 s"))
	if heard.session.closeIfSilent(w.clock.ticks()) {
		t.Error("closed, though it was heard of after its turn")
	}
	heard.want(alive)
}

// Half a frame is a sign of life as well.
func TestKeepAliveCountsBytes(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	frame := text(ping)
	w.clock.advance(70 * time.Second)
	p.write(frame[:3])
	for p.session.heard.Load() != int32(w.clock.ticks()/time.Second) {
		runtime.Gosched()
	}
	w.clock.advance(70 * time.Second)
	p.session.KeepAlive(w.clock.ticks())
	if p.peekOp() != ws.OpPing {
		t.Fatal("closed, though something was heard 70 s ago")
	}
	p.read()
	p.write(frame[3:])
	p.want(aText(pong))
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
			p := w.wire(w.grant("device-1"), wiring{prepare: before})
			p.wantWelcome()
			p.read()
		})
	}
}

func TestGoAway(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	p.session.GoAway(1500*time.Millisecond + 999*time.Microsecond)
	p.want(aText(`{"type":"going_away","retryAfterMs":1500}`), alive)
	p.session.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	p.want(aClose(1001, "going away"))
}

// What came with the upgrade request is dealt with first, then what comes later.
func TestEarlyBytes(t *testing.T) {
	w := newWorld(t)
	large, data := publishOf(20_000)
	for name, early := range map[string][]byte{
		"none": {}, "a frame": text(ping), "three frames": join(text(ping), text(ping), text(ping)),
		"a frame and a half": join(text(ping), text(ping)[:5]), "one byte": text(ping)[:1],
		"a large frame": text(large), "a frame and most of a large one": join(text(ping), text(large)[:15_000]),
	} {
		t.Run(name, func(t *testing.T) {
			p := w.wire(w.grant("device-1"), wiring{early: early})
			p.wantWelcome()
			all := join(text(ping), text(ping), text(ping), text(ping))
			wants := []want{aText(pong), aText(pong), aText(pong), aText(pong)}
			switch name {
			case "a large frame":
				all, wants = join(text(large), text(ping)), []want{anAck("r"), aText(pong)}
			case "a frame and most of a large one":
				all, wants = join(text(ping), text(large), text(ping)), []want{aText(pong), anAck("r"), aText(pong)}
			}
			p.write(all[len(early):])
			p.want(wants...)
		})
	}
	for _, m := range w.publisher.published() {
		if string(m.Data) != data {
			t.Error("the large frame's data has changed")
		}
	}
}

func TestEarlyClose(t *testing.T) {
	w := newWorld(t)
	p := w.wire(w.grant("device-1"), wiring{early: join(text(ping), closing(1000, "changed my mind"))})
	p.wantWelcome()
	p.want(aText(pong), aClose(1000, ""))
	if e := p.wait(); e != (Ended{"peer", 1000, "changed my mind"}) {
		t.Errorf("ended %+v", e)
	}
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
	p.write(text(`{"type":"subscribe","channel":"devices/a","requestId":"r"}`))
	p.want(anAck("r"))
	p.write(text(`{"type":"publish","channel":"devices/boom","data":1,"requestId":"r"}`))
	p.want(aClose(1011, "internal error"))
	if e := p.wait(); e != (Ended{"server", 1011, "internal error"}) {
		t.Errorf("ended %+v", e)
	}
	if n := w.interest.subscribersOf("devices/a"); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	if p.left.Load() != 1 {
		t.Error("left was not called")
	}
	if lines := w.log.lines("a session panicked"); len(lines) != 1 || !strings.Contains(lines[0], "handlePublish") {
		t.Errorf("the log has no stack: %s", lines)
	}
	other.want(alive)
}

func TestOneLogLinePerConnection(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("device-1")
	grant.Metadata = []byte(`{"secret":"hush-hush"}`)
	p := w.connect(grant)
	p.want(alive)
	w.clock.advance(90 * time.Second)
	p.write(closing(4321, "battery low\nforged line"))
	p.want(aClose(4321, ""))
	p.wait()

	p = w.connect(grant)
	p.write(text(`{"type":"refresh","token":"eyJhbGciOi.hush-hush.x"}`))
	p.want(anError(protocol.InvalidToken, ""))
	w.clock.advance(90 * time.Second)
	p.session.KeepAlive(w.clock.ticks())
	p.want(aClose(4000, ""))
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

// An idle connection costs no goroutine, or, where there is no epoll, one.
func TestGoroutinesOfIdleConnections(t *testing.T) {
	const n = 200
	w := newWorld(t)
	peers := make([]*peer, n)
	for i := range peers {
		peers[i] = w.connect(w.grant(fmt.Sprint("device-", i)))
		peers[i].write(text(`{"type":"subscribe","channel":"devices/all","requestId":"r"}`))
		peers[i].want(anAck("r"))
	}
	wantGoroutines(t, n*goroutinesEach)

	for batch := []envelope.Delivery{delivery("devices/all", `1`)}; len(batch) > 0; {
		batch = batch[w.opt.Hub.Broadcast(batch):]
	}
	for _, p := range peers {
		p.want(aText(string(message("devices/all", `1`))))
		p.session.KeepAlive(w.clock.ticks())
		p.read()
	}
	wantGoroutines(t, n*goroutinesEach)

	for _, p := range peers { // nor a buffer
		p.want(alive)
	}
	for _, p := range peers {
		_ = p.conn.Close()
		p.wait()
		if p.session.in.buffer != nil || p.session.in.pooled != nil {
			t.Fatal("a buffer was kept")
		}
	}
	wantGoroutines(t, 0)
}

// wantGoroutines waits until so many goroutines are at work for sessions.
func wantGoroutines(t *testing.T, want int) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		n := 0
		for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(stack, "created by fleetwire/fanout/internal/session.(*") {
				n++
			}
		}
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, want %d", n, want)
		}
	}
}

// However many ends come at the same time, there is one, and the socket is closed.
func TestEndsThatRace(t *testing.T) {
	w := newWorld(t)
	shared := protocol.AppendTextFrame(nil, []byte(`{"type":"message","data":"`+strings.Repeat("m", 5000)+`"}`))
	for i := range 150 {
		p := w.wire(w.grant("device-1"), wiring{serverBuffer: 4096})
		begin := make(chan struct{})
		var racing sync.WaitGroup
		race := func(f func()) {
			racing.Add(1)
			go func() {
				defer racing.Done()
				<-begin
				f()
			}()
		}
		race(func() { p.session.Close(protocol.Closef(protocol.CloseGoingAway, "")) })
		race(func() { p.session.Close(protocol.Closef(protocol.CloseDisconnected, "")) })
		race(func() { p.session.KeepAlive(w.clock.ticks()); p.session.GoAway(time.Second) })
		race(func() {
			for j := range uint64(300) { // past the bound of unsent bytes
				if _, flush := p.session.Append(shared, j+1); flush && j%3 == 0 {
					p.session.Flush()
				}
			}
			p.session.Flush()
		})
		switch i % 3 {
		case 0:
			race(func() { _, _ = p.conn.Write(join(text(ping), closing(1000, ""))) })
		case 1:
			race(func() { _ = p.conn.SetLinger(0); _ = p.conn.Close() })
		case 2:
			race(func() { _, _ = p.conn.Write(frame{op: 3, unmasked: true}.bytes()) })
		}
		close(begin)
		racing.Wait()
		if i%3 != 1 {
			p.wantFramesThenClose()
		}
		e := p.wait()
		if e.By == "" || p.left.Load() != 1 {
			t.Fatalf("ended %+v, left %d times", e, p.left.Load())
		}
		wantSocketClosed(t, p.session)
	}
	if n := len(w.log.lines("connection ended")); n != 150 {
		t.Errorf("%d log lines, want 150", n)
	}
}

// wantFramesThenClose reads whole frames until a close frame, and then the end.
func (p *peer) wantFramesThenClose() (frames int) {
	p.t.Helper()
	for p.peekOp() != ws.OpClose {
		p.read()
		frames++
	}
	p.read()
	_ = p.conn.CloseWrite()
	if rest, err := io.ReadAll(p.in); len(rest) > 0 {
		p.t.Fatalf("%d bytes behind the close frame (%v)", len(rest), err)
	}
	return frames
}

func TestRefuse(t *testing.T) {
	w := newWorld(t)
	for name, early := range map[string][]byte{"nothing early": nil, "early frames": join(text(ping), text(ping)[:3]), "early rubbish": []byte("\xff\xff\xff")} {
		t.Run(name, func(t *testing.T) {
			p, server := w.dial(wiring{})
			why := protocol.Closef(protocol.CloseInvalidCredential, "the token's kid is unknown or revoked")
			p.starts(func() { w.refused = p })
			check(t, Refuse(&w.opt, server, early, nil, why))
			p.want(aClose(4001, "the token's kid is unknown or revoked"))
			p.wantEOF()
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
