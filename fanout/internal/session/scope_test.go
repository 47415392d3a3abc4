package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/envelope"
)

// register makes the peer known, as the node does before it runs a session.
func (p *peer) register() {
	p.TB.Helper()
	done := make(chan error, 1)
	check(p.TB, p.session.Register(func(err error) { done <- err }))
	check(p.TB, <-done)
}

// token is one for the peer, good for an hour, with the key's scope or the
// channels given.
func (w *world) token(key, peer string, channels ...string) string {
	w.t.Helper()
	k, ok := w.dir.Key(key)
	if !ok {
		w.t.Fatalf("no key %s", key)
	}
	r := auth.TokenRequest{Peer: peer, TTL: time.Hour, HasChannels: channels != nil}
	for _, c := range channels {
		r.Channels = append(r.Channels, pattern(w.t, c))
	}
	token, _, err := auth.Mint(k, r, w.clock.now())
	check(w.t, err)
	return token
}

func refresh(token string) []byte {
	return text(`{"type":"refresh","requestId":"f","token":"` + token + `"}`)
}

func TestSend(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("device-1")
	grant.PeerMetadata = []byte(`{"v":2}`)
	p := w.connect(grant)
	p.Write(text(`{"type":"send","to":"device-7","data":[1.0],"channel":"ignored","requestId":"d"}`))
	p.Want(anAck("d"))
	m := w.publisher.published()
	if len(m) != 1 || m[0].To != "device-7" || m[0].Channel != "" || m[0].From != "device-1" ||
		string(m[0].FromMetadata) != `{"v":2}` || string(m[0].Data) != "[1.0]" || m[0].Grant != grant {
		t.Errorf("published %+v", m)
	}
}

func TestDirectArrives(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	p.register()
	body := protocol.AppendDirect(nil, "device-7", nil, []byte(`1`))
	d := envelope.Delivery{Kind: envelope.KindPeer, App: "app_test", Channel: "device-1", Frame: protocol.AppendTextFrame(nil, body)}
	w.opt.Hub.Broadcast([]envelope.Delivery{d})
	p.Want(aText(string(body)))
	p.Write(closing(1000, ""))
	p.Want(aClose(1000, ""))
	p.wait()
	if n := w.interest.connections["device-1"]; n != 0 {
		t.Errorf("the peer is left with %d connections", n)
	}
}

// What comes for a peer before its connection is admitted waits for the welcome.
func TestNothingIsWrittenBeforeStart(t *testing.T) {
	w := newWorld(t)
	body := string(protocol.AppendDirect(nil, "device-7", nil, []byte(`1`)))
	p := w.start(w.grant("device-1"), func(s *Session) {
		done := make(chan error, 1)
		check(t, s.Register(func(err error) { done <- err }))
		check(t, <-done)
		w.opt.Hub.Broadcast([]envelope.Delivery{{Kind: envelope.KindPeer, App: "app_test", Channel: "device-1", Frame: protocol.AppendTextFrame(nil, []byte(body))}})
	})
	p.Want(aWelcome)
	p.Want(aText(body), alive)
}

func TestDisconnect(t *testing.T) {
	w := newWorld(t)
	one, two, other := w.connect(w.grant("device-1")), w.connect(w.grant("device-1")), w.connect(w.grant("device-2"))
	for _, p := range []*peer{one, two, other} {
		p.register()
	}
	closed := w.opt.Hub.Disconnect("app_test", "device-1")
	for _, p := range []*peer{one, two} {
		p.Want(aClose(4020, "disconnected by an operator"))
		if e := p.wait(); e.By != "server" || e.Code != 4020 {
			t.Errorf("ended %+v", e)
		}
	}
	other.Want(alive)
	if closed != 2 {
		t.Errorf("%d connections are said to have been closed, want 2", closed)
	}
}

// A connection that was made known but is not admitted is not known any more,
// and gets the close frame alone.
func TestRefuseAfterRegister(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.grant("device-1"), nil)
	s := p.session
	p.register()
	body := protocol.AppendDirect(nil, "device-7", nil, []byte(`1`))
	w.opt.Hub.Broadcast([]envelope.Delivery{{Kind: envelope.KindPeer, App: "app_test", Channel: "device-1", Frame: protocol.AppendTextFrame(nil, body)}})
	s.Refuse(protocol.Closef(protocol.CloseConnectionLimit, "full"))
	p.Want(aClose(4010, "full"))
	p.wait()
	if p.left.Load() != 0 {
		t.Error("left was called for a connection that was refused")
	}
	if n, ok := w.interest.connections["device-1"]; n != 0 || !ok {
		t.Errorf("the peer has %d connections, want 0 (told: %v)", n, ok)
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("device-1")
	grant.ExpiresAt = w.clock.in(time.Hour)
	p := w.connect(grant)
	for _, name := range []string{"devices/a", "devices/b", "devices/*", "fleets/f"} {
		p.Write(text(`{"type":"subscribe","channel":"` + name + `","requestId":"s"}`))
		p.Want(anAck("s"))
	}
	// Narrower: what is outside is dropped, and named in order.
	expires := func() string { return fmt.Sprint(w.clock.in(time.Hour).Unix()) }
	p.Write(refresh(w.token("sk_test", "device-1", "devices/b", "fleets/*")))
	p.Want(aText(`{"type":"ack","requestId":"f","expiresAt":` + expires() + `,"unsubscribed":["devices/*","devices/a"]}`))
	for name, want := range map[string]int{"devices/a": 0, "devices/b": 1, "devices/*": 0, "fleets/f": 1} {
		if got := w.interest.subscribersOf(name); got != want {
			t.Errorf("%s has %d subscribers, want %d", name, got, want)
		}
	}
	p.Write(text(`{"type":"subscribe","channel":"devices/a","requestId":"s"}`))
	p.Want(anError(protocol.ChannelNotAuthorized, "s"))
	// Wider again, at once.
	p.Write(refresh(w.token("sk_test", "device-1")))
	p.Want(aText(`{"type":"ack","requestId":"f","expiresAt":` + expires() + `,"unsubscribed":[]}`))
	p.Write(text(`{"type":"subscribe","channel":"devices/a","requestId":"s"}`))
	p.Want(anAck("s"))
	// By another key of the app: its actions hold, and its patterns.
	p.Write(refresh(w.token("sk_second", "device-1")))
	p.Want(aText(`{"type":"ack","requestId":"f","expiresAt":` + expires() + `,"unsubscribed":["devices/a","devices/b"]}`))
	if s := p.session.Grant(); s.Key.ID != "sk_second" || s.Can(apps.ActionPublish) {
		t.Errorf("the session's grant is of %s", s.Key.ID)
	}
	// Without requestId success is silent.
	p.Write(text(`{"type":"refresh","token":"` + w.token("sk_test", "device-1", []string{}...) + `"}`))
	p.Want(alive)
}

func TestRefreshRefused(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.grant("device-1"), nil)
	s := p.session
	since := w.clock.in(-time.Hour)
	w.revokedSince.Store(&since)
	issued := func(ago, ttl time.Duration) string {
		token, _, err := auth.Mint(w.key, auth.TokenRequest{Peer: "device-1", TTL: ttl}, w.clock.in(-ago))
		check(t, err)
		return token
	}
	s.Start()
	p.Want(aWelcome)
	p.Write(text(`{"type":"subscribe","channel":"devices/a","requestId":"s"}`))
	p.Want(anAck("s"))
	good := w.token("sk_test", "device-1")
	for name, token := range map[string]string{
		"another peer's":      w.token("sk_test", "device-2"),
		"another app's":       w.token("sk_other", "device-1"),
		"expired":             issued(time.Hour, time.Hour),
		"revoked":             issued(2*time.Hour, 24*time.Hour),
		"with a cut off tail": good[:len(good)-2],
	} {
		t.Run(name, func(t *testing.T) {
			p.TB = t
			before := s.Grant()
			p.Write(refresh(token))
			p.Want(anError(protocol.InvalidToken, "f"), alive)
			if s.Grant() != before {
				t.Error("the grant has changed")
			}
		})
	}
	p.TB = t
	if w.interest.subscribersOf("devices/a") != 1 {
		t.Error("a refused refresh cost a subscription")
	}
	p.Write(refresh(good))
	p.Want(aText(`{"type":"ack","requestId":"f","expiresAt":` + fmt.Sprint(w.clock.in(time.Hour).Unix()) + `,"unsubscribed":[]}`))
}

// The old token's expiry does not end a connection that has a new one; the new
// one's does.
func TestRefreshMovesExpiry(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("device-1")
	grant.ExpiresAt = w.clock.in(protocol.ExpiryLead + time.Hour)
	p := w.connect(grant)
	p.Write(refresh(w.token("sk_test", "device-1")))
	p.Read()
	later := *p.session.Grant()
	later.ExpiresAt = w.clock.in(protocol.ExpiryLead)
	p.session.Regrant(&later)
	p.Want(aClose(4002, "token expired"))
	if lost, refused := p.session.Regrant(grant); lost != nil || refused != nil || p.session.Grant() != &later {
		t.Error("a session that has ended took another grant")
	}
}

// A document that changes an app's limits changes them for its connections.
func TestRegrantTakesTheNewRate(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.limited("device-1", 1, 1000))
	p.Want(alive)
	p.session.Regrant(w.limited("device-1", 1, 2))
	for range 3 {
		p.Write(text(ping))
	}
	for p.PeekOp() == ws.OpText {
		p.Read()
	}
	p.Want(aClose(4011, ""))
}

// Refreshes and documents change a grant while the peer subscribes: whatever
// wins, nothing is subscribed in the end that the last grant does not cover.
func TestRegrantWhileSubscribing(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	narrow := w.grant("device-1")
	narrow.Patterns = []*channel.Pattern{pattern(t, "devices/0")}
	wide := w.grant("device-1")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			p.session.Regrant(narrow)
			p.session.Regrant(wide)
		}
		p.session.Regrant(narrow)
	}()
	names := []string{"devices/0", "devices/1", "devices/2"}
	for i := range 300 {
		p.Write(text(`{"type":"subscribe","channel":"` + names[i%3] + `","requestId":"s"}`))
		if _, got := p.Read(); !strings.Contains(string(got), `"ack"`) && !strings.Contains(string(got), "channel_not_authorized") {
			t.Fatalf("got %s", got)
		}
	}
	<-done
	p.Want(alive)
	for _, name := range names[1:] {
		if n := w.interest.subscribersOf(name); n != 0 {
			t.Errorf("%s has %d subscribers", name, n)
		}
	}
}

// Who expires in hours has no timer until then.
func TestExpiryFarAhead(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("device-1")
	grant.ExpiresAt = w.clock.in(time.Hour)
	p := w.connect(grant)
	timer := func() bool {
		p.session.scope.mu.Lock()
		defer p.session.scope.mu.Unlock()
		return p.session.scope.expiry != nil
	}
	p.session.KeepAlive(w.clock.ticks())
	p.Read()
	if timer() {
		t.Error("there is a timer for what is an hour ahead")
	}
	w.clock.advance(time.Hour - 2*protocol.PingInterval)
	p.Want(alive)
	p.session.KeepAlive(w.clock.ticks())
	p.Read()
	if !timer() {
		t.Fatal("there is no timer for what is two KeepAlives ahead")
	}
	p.session.Regrant(w.grant("device-1"))
	if timer() {
		t.Error("there is a timer for a grant that does not expire")
	}
	grant = w.grant("device-1")
	grant.ExpiresAt = w.clock.in(protocol.ExpiryLead + soon + 20*time.Millisecond)
	p.session.Regrant(grant)
	w.clock.advance(soon)
	p.Want(alive)
	p.session.KeepAlive(w.clock.ticks())
	p.Read()
	p.Want(aClose(4002, "token expired"))
}

func TestSubscriptions(t *testing.T) {
	var s subscriptions
	for _, name := range []string{"a", "b", "c", "b"} {
		s.put(subscription{name: name})
	}
	if len(s) != 3 || !s.has("b") || s.has("d") {
		t.Errorf("%v", s)
	}
	for i, name := range []string{"a", "a", "c", "d", "b", "b"} {
		if _, there := s.take(name); there != (i%2 == 0) {
			t.Errorf("%d: %s was there: %v", i, name, there)
		}
	}
	if len(s) != 0 {
		t.Errorf("%v is left", s)
	}
}

// An order to close may come before the connection is admitted: then it has not
// ended yet, and the peer still reads its welcome first.
func TestCloseBeforeStart(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.grant("device-1"), nil)
	s := p.session
	if !s.Close(protocol.Closef(protocol.CloseDisconnected, "")) {
		t.Error("it was not open")
	}
	s.Flush()
	for range 8 { // connections of the same loop are served meanwhile
		w.connect(w.grant("other")).Want(alive)
	}
	if n := p.left.Load(); n != 0 {
		t.Errorf("left %d times before Start", n)
	}
	s.Start()
	p.Want(aWelcome)
	p.Want(aClose(4020, ""))
	if e := p.wait(); e.Code != 4020 || p.left.Load() != 1 {
		t.Errorf("ended %+v, left %d times", e, p.left.Load())
	}
}

// HOSTILE: a token of many patterns that are hard to compare with the connection's
// subscriptions. A loop serves many connections, so it gives up early.
func TestRefreshGivesUpOnAwkwardPatterns(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	subscribed := pattern(t, "devices"+strings.Repeat("/**a", 14)+"/**")
	p.Write(text(`{"type":"subscribe","channel":"` + subscribed.String() + `","requestId":"s"}`))
	p.Want(anAck("s"))
	claimed := make([]string, 100)
	for i := range claimed {
		claimed[i] = "devices**a*" + strings.Repeat("/*", 10) + "/**"
	}
	before := p.session.Grant()
	g := *before
	g.Patterns = nil
	for _, c := range claimed {
		g.Patterns = append(g.Patterns, pattern(t, c))
	}
	w.verifyWith(func(string, string) (*auth.Grant, *protocol.CloseError) { return &g, nil })
	p.Write(refresh("a token"))
	p.Want(anError(protocol.InvalidToken, "f"))
	if p.session.Grant() != before {
		t.Error("the refused grant is in force")
	}
	if n := w.interest.subscribersOf(subscribed.String()); n != 1 {
		t.Errorf("%d subscriptions to the pattern, want 1", n)
	}
	// With such a grant from the start, the subscribe is what is refused.
	p = w.connect(&g)
	p.Write(text(`{"type":"subscribe","channel":"` + subscribed.String() + `","requestId":"s"}`))
	p.Want(anError(protocol.ChannelNotAuthorized, "s"))
}
