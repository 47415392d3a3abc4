package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/protocol"
)

// exchange waits for a refresh with the token and lets it live for ttl.
func (p *peerConn) exchange(token string, ttl time.Duration, unsubscribed ...string) {
	p.t.Helper()
	f, text := p.request()
	if f.Type != protocol.TypeRefresh || f.Token != token {
		p.t.Fatalf("the client sent %s, want a refresh with %s", text, token)
	}
	p.say(string(protocol.AppendRefreshed(nil, f.RequestID, time.Now().Add(ttl).Unix(), unsubscribed)))
}

// hello says welcome with a token that lives for ttl, by a clock that is ahead of
// the client's.
func (f *fake) hello(ttl, ahead time.Duration) *peerConn {
	f.t.Helper()
	p := f.accept()
	now := time.Now().Add(ahead)
	p.say(string(protocol.AppendWelcome(nil, protocol.Welcome{PeerID: "p", ExpiresAt: now.Add(ttl).Unix(), ServerTime: now.Unix()})))
	over := make(chan struct{})
	f.t.Cleanup(func() { close(over) })
	go func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(protocol.PingInterval):
				p.write(protocol.PingFrame)
			}
		}
	}()
	return p
}

// A connection outlives its tokens: each is exchanged before its time is over.
func TestRefresh(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.client()
		p := f.hello(1000*time.Second, 0)
		// A fifth of 999 s is left after 799.2 s, and at most a tenth more is random:
		// here, all. The second is for clocks that tell whole ones.
		p.exchange("token-2", 10*time.Hour)
		if at := time.Since(f.begin); at != 899_100*time.Millisecond {
			t.Errorf("exchanged after %v, want 899.1 s", at)
		}
		p.exchange("token-3", time.Hour)
		if at := time.Since(f.begin) - 899_100*time.Millisecond; (at - (10*time.Hour - refreshLead/2)).Abs() > 2*time.Second {
			t.Errorf("exchanged again after %v", at)
		}
		// A lost connection is made again with the token of now, once the client has it.
		synctest.Wait()
		_ = p.Close()
		if p = f.accept(); p.bearer != "token-3" {
			t.Errorf("connected with %s, want token-3", p.bearer)
		}
	})
}

func TestRefreshByTheServicesClock(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.client()
		const ahead = 24 * time.Hour
		p := f.hello(1000*time.Second, ahead)
		p.exchange("token-2", ahead+1000*time.Second)
		p.exchange("token-3", ahead+time.Hour)
		if at := time.Since(f.begin); (at - 1800*time.Second).Abs() > 4*time.Second {
			t.Errorf("exchanged twice after %v, want about 1800 s", at)
		}
	})
}

func TestRefreshIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		failures := 0
		f.client(func(o *Options) {
			token := o.Token
			o.Token = func(ctx context.Context) (string, error) {
				if f.begin.Add(time.Second).Before(time.Now()) && failures == 0 {
					failures++
					return "", errors.New("no network")
				}
				return token(ctx)
			}
		})
		p := f.hello(1000*time.Second, 0)
		r, _ := p.request()
		if at := time.Since(f.begin); at != 899_100*time.Millisecond+2*retryRefresh {
			t.Errorf("tried again after %v", at)
		}
		p.refuse(r, protocol.BackendError)
		p.exchange("token-3", time.Hour)
		if failures != 1 {
			t.Errorf("%d failures, want 1", failures)
		}
	})
}

// Where the service does not take the token, or there is none, the connection goes on
// to the end of the old one, and the next begins with a new one.
func TestRefreshRefused(t *testing.T) {
	for name, refuse := range map[string]func(p *peerConn){
		"by the service":            func(p *peerConn) { r, _ := p.request(); p.refuse(r, protocol.InvalidToken) },
		"by one that knows no such": func(p *peerConn) { r, _ := p.request(); p.refuse(r, protocol.UnknownType) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				f.client()
				p := f.hello(1000*time.Second, 0)
				refuse(p)
				time.Sleep(90 * time.Second)
				p.shut(protocol.CloseExpired)
				if p = f.accept(); p.bearer != "token-3" {
					t.Errorf("connected with %s, want token-3", p.bearer)
				}
				if !strings.Contains(f.log.String(), "not exchanged") {
					t.Errorf("the log does not say so: %s", f.log.String())
				}
			})
		})
	}
	t.Run("a static token", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			c := f.client(func(o *Options) { o.Token = StaticToken("token-only") })
			p := f.hello(1000*time.Second, 0)
			time.Sleep(999 * time.Second)
			p.shut(protocol.CloseExpired)
			<-c.Done()
			wantErr(t, c.Err(), ErrStop)
		})
	})
}

// What the new token does not cover is reported, and asked for again on the next
// connection.
func TestRefreshNarrows(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.hello(1000*time.Second, 0)
		done := async(func() error { return c.Subscribe(context.Background(), "devices/a", func(Message) {}) })
		p.grant(protocol.TypeSubscribe, "devices/a")
		wantErr(t, <-done, nil)
		p.exchange("token-2", time.Hour, "devices/a")
		synctest.Wait()
		errs := f.errors()
		if len(errs) != 1 || CodeOf(errs[0]) != protocol.ChannelNotAuthorized || !strings.Contains(errs[0].Error(), "devices/a") {
			t.Errorf("reported %v", errs)
		}
		_ = p.Close()
		p = f.hello(time.Hour, 0)
		p.grant(protocol.TypeSubscribe, "devices/a")
	})
}

func TestSend(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		done := async(func() error { return c.Send(context.Background(), "camera-7", map[string]int{"a": 1}) })
		r, _ := p.request()
		if r.Type != protocol.TypeSend || r.To != "camera-7" || string(r.Data) != `{"a":1}` {
			t.Errorf("the client sent %+v", r)
		}
		p.say(string(protocol.AppendAck(nil, r.RequestID)))
		wantErr(t, <-done, nil)
		done = async(func() error { return c.Send(context.Background(), "nobody", nil) })
		r, _ = p.request()
		p.refuse(r, protocol.PeerNotFound)
		wantCode(t, <-done, protocol.PeerNotFound)
		for _, peer := range []string{"", "é", strings.Repeat("x", 129)} {
			wantCode(t, c.Send(context.Background(), peer, 1), protocol.InvalidPeerID)
		}
	})
}

func TestDirectAndPresence(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		var heard []string
		c := f.client(func(o *Options) {
			o.OnDirect = func(m Message) {
				heard = append(heard, fmt.Sprintf("direct %s %s %s", m.From, m.Data, m.SenderMetadata))
			}
		})
		p := f.welcome()
		presence := func(of string) SubscribeOption {
			return WithPresence(func(p Presence) {
				heard = append(heard, fmt.Sprintf("%s: %s +%v -%v", of, p.Channel, p.Joined, p.Left))
			})
		}
		for name, opts := range map[string][]SubscribeOption{"devices/a": {presence("by name")}, "devices/*": {presence("by pattern")}, "devices/**": nil} {
			done := async(func() error { return c.Subscribe(context.Background(), name, func(Message) {}, opts...) })
			p.grant(protocol.TypeSubscribe, name)
			wantErr(t, <-done, nil)
		}
		p.say(`{"type":"direct","from":"q","fromMetadata":{"v":2},"data":[1.0]}`)
		p.say(`{"type":"presence","channel":"devices/a","joined":[{"peerId":"a","metadata":{"x":1}},{"peerId":"b"}],"left":[]}`)
		p.say(`{"type":"presence","channel":"devices/b","joined":[],"left":[{"peerId":"a"}]}`)
		p.say(`{"type":"presence","channel":"fleets/c","joined":[],"left":[]}`)
		p.say(`{"type":"presence","channel":"devices/a","joined":[7],"left":[]}`) // not the protocol's: ignored
		synctest.Wait()
		want := []string{
			`direct q [1.0] {"v":2}`,
			`by name: devices/a +[{a [123 34 120 34 58 49 125]} {b []}] -[]`,
			`by pattern: devices/a +[{a [123 34 120 34 58 49 125]} {b []}] -[]`,
			`by pattern: devices/b +[] -[{a []}]`,
		}
		if fmt.Sprint(heard) != fmt.Sprint(want) {
			t.Errorf("told\n%s\nwant\n%s", strings.Join(heard, "\n"), strings.Join(want, "\n"))
		}
	})
}

// Presences count against the bound as messages do, and what was dropped is said.
func TestPresenceIsBounded(t *testing.T) {
	q := newQueue(1000)
	large := func() item {
		return item{presence: &Presence{Channel: "c", Joined: make([]Member, 10)}}
	}
	if missed := q.put(large()); missed != 0 {
		t.Fatalf("missed %d", missed)
	}
	for i := range 3 {
		if missed := q.put(large()); missed != i+1 {
			t.Fatalf("missed %d, want %d", missed, i+1)
		}
	}
	if i, _ := q.take(nil); i.presence == nil || i.presence.Missed != 0 {
		t.Errorf("took %+v", i)
	}
	q.put(item{message: &Message{}})
	if i, _ := q.take(nil); i.message == nil || i.message.Missed != 3 {
		t.Errorf("took %+v", i)
	}
}
