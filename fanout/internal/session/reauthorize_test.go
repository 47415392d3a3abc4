package session

import (
	"strings"
	"sync"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

const (
	dropActions = `"publish","subscribe","presence","send"`
	dropKey     = `"id":"sk_test"`
)

// replace puts the document in force with replacements in it.
func (w *world) replace(oldnew ...string) {
	w.t.Helper()
	text := document
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(text, oldnew[i]) {
			w.t.Fatalf("%q is not in the document", oldnew[i])
		}
		text = strings.Replace(text, oldnew[i], oldnew[i+1], 1)
	}
	dir, err := apps.Parse([]byte(text))
	check(w.t, err)
	w.store.Replace(dir)
}

// subscribe subscribes to all of them.
func (p *peer) subscribe(names ...string) {
	p.TB.Helper()
	for _, name := range names {
		p.Write(text(`{"type":"subscribe","channel":"` + name + `","requestId":"s"}`))
		p.Want(anAck("s"))
	}
}

func TestFollowDropsWhatIsNotCovered(t *testing.T) {
	gone := func(name string) string {
		return `{"type":"error","code":"channel_not_authorized","message":"unsubscribed from \"` + name + `\": the key does not cover it any more"}`
	}
	all := []string{"devices/*", "devices/a", "devices/b", "fleets/f"}
	for _, tt := range []struct {
		name   string
		change []string
		gone   []string
	}{
		{"nothing", []string{`"keys"`, ` "keys"`}, nil},
		{"narrowed", []string{`"devices/**","fleets/*"`, `"devices/a","fleets/**"`}, []string{"devices/*", "devices/b"}},
		{"widened", []string{`"devices/**","fleets/*"`, `"**"`}, nil},
		{"no channel left", []string{`"devices/**","fleets/*"`, ``}, all},
		{"the action is gone", []string{dropActions, `"publish"`}, all},
		{"another action is gone", []string{dropActions, `"subscribe"`}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			p := w.connect(w.grant("device-1"))
			p.subscribe(all...)
			w.replace(tt.change...)
			if p.session.Reauthorize() {
				t.Fatal("closed")
			}
			for _, name := range tt.gone {
				p.Want(aText(gone(name)))
			}
			p.Want(alive)
			for _, name := range all {
				want := 1
				for _, g := range tt.gone {
					if g == name {
						want = 0
					}
				}
				if got := w.interest.subscribersOf(name); got != want {
					t.Errorf("%s has %d subscribers, want %d", name, got, want)
				}
			}
			if p.session.Reauthorize() {
				t.Error("closed at a second look")
			}
			p.Want(alive) // and nothing is said twice
		})
	}
}

func TestFollowAppliesTheNewGrantAtOnce(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	before := p.session.Grant()
	if p.session.Reauthorize(); p.session.Grant() != before {
		t.Error("the grant is another, though the document is the same")
	}
	p.Write(text(`{"type":"subscribe","channel":"public/a","requestId":"s"}`))
	p.Want(anError(protocol.ChannelNotAuthorized, "s"))
	w.clock.advance(time.Second) // the bucket is full
	w.replace(`"fleets/*"`, `"public/*"`, `"connectionMessagesPerSec":1000000,"connectionMessagesBurst":1000000`, `"connectionMessagesPerSec":1,"connectionMessagesBurst":2`)
	p.session.Reauthorize()
	p.subscribe("public/a")
	key, _ := w.store.Current().Key("sk_test")
	if g := p.session.Grant(); g.Key != key || g.App != key.App {
		t.Error("the grant is not of the new document")
	}
	p.Write(text(ping), text(ping), text(ping))
	p.Want(aText(pong)) // of the burst of 2, the subscribe took one
	p.Want(aClose(4011, "over 1 frames per second (burst 2)"))
}

func TestFollowCloses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change []string
		code   int
		reason string
	}{
		{"the key is revoked", []string{dropKey, `"id":"sk_new"`}, 4002, "revoked: key sk_test"},
		{"its secret is another", []string{`"secret":"0`, `"secret":"1`}, 4002, "revoked: the former secret of key sk_test"},
		{"the app is gone", []string{`"app_test"`, `"app_new"`}, 4001, "the app app_test does not exist any more"},
		{"the app is suspended", []string{`"limits"`, `"suspended":true,"limits"`}, 4012, "the app is suspended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			p := w.connect(w.grant("device-1"))
			p.subscribe("devices/a")
			w.replace(tt.change...)
			if !p.session.Reauthorize() {
				t.Error("not closed")
			}
			p.Want(aClose(tt.code, tt.reason))
			if e := p.wait(); e.By != "server" || int(e.Code) != tt.code || e.Reason != tt.reason {
				t.Errorf("ended %+v", e)
			}
			if n := w.interest.subscribersOf("devices/a"); n != 0 {
				t.Errorf("%d subscribers are left", n)
			}
			p.session.Reauthorize() // of no effect any more
		})
	}
}

// HOSTILE: a refresh whose token was verified under a document that is replaced
// before the new grant is in force must not outlive its key.
func TestFollowAfterARefreshThatWasOvertaken(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	token := w.token("sk_test", "device-1")
	verify := *w.verify.Load()
	w.verifyWith(func(token, origin string) (*auth.Grant, *protocol.CloseError) {
		g, refused := verify(token, origin)
		w.replace(dropKey, `"id":"sk_new"`)
		if !p.session.Reauthorize() { // as the node does: the old grant is closed, but see below
			t.Error("not closed")
		}
		return g, refused
	})
	p.Write(refresh(token))
	p.Want(aClose(4002, "revoked: key sk_test"))
}

// The same, but that the node comes by only while the key is still good.
func TestFollowAfterARefreshThatWasOvertakenByANarrowerKey(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	verify := *w.verify.Load()
	w.verifyWith(func(token, origin string) (*auth.Grant, *protocol.CloseError) {
		g, refused := verify(token, origin)
		w.replace(`"devices/**","fleets/*"`, `"devices/a"`)
		p.session.Reauthorize()
		return g, refused
	})
	p.subscribe("devices/a")
	p.Write(refresh(w.token("sk_test", "device-1")))
	if op, got := p.Read(); !strings.HasPrefix(string(got), `{"type":"ack","requestId":"f"`) {
		t.Fatalf("got frame %x %s", op, got)
	}
	p.Write(text(`{"type":"subscribe","channel":"devices/b","requestId":"s"}`))
	p.Want(anError(protocol.ChannelNotAuthorized, "s"))
	if g := p.session.Grant(); g.ExpiresAt.IsZero() {
		t.Error("the refresh is lost")
	}
}

// Whatever runs at the same time, the last document holds in the end.
func TestFollowRacesWithReplacementsAndRefreshes(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	narrow, err := apps.Parse([]byte(strings.Replace(document, `"devices/**","fleets/*"`, `"devices/a"`, 1)))
	check(t, err)
	var racing sync.WaitGroup
	for range 4 {
		racing.Go(func() {
			for range 200 {
				w.store.Replace(w.dir)
				p.session.Reauthorize()
				w.store.Replace(narrow)
				p.session.Reauthorize()
			}
		})
	}
	token := w.token("sk_test", "device-1")
	for range 50 {
		p.Write(refresh(token))
		for { // errors of dropped subscriptions cannot come: there are none
			if _, got := p.Read(); strings.HasPrefix(string(got), `{"type":"ack"`) {
				break
			}
		}
	}
	racing.Wait()
	p.Write(refresh(token))
	p.Read()
	p.Want(alive)
	if g := p.session.Grant(); g.Check(apps.ActionSubscribe, "devices/b") == nil || g.Check(apps.ActionSubscribe, "devices/a") != nil || g.ExpiresAt.IsZero() {
		t.Errorf("the grant is not of the last document")
	}
}
