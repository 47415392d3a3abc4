package client

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/protocol"
)

// A follower is a client with one subscription to the channel log, and what came of it.
type follower struct {
	t    *testing.T
	f    *fake
	c    *Client
	came []string // "data@epoch:offset", with a * if it is replayed
	gaps []Gap
}

func follow(t *testing.T, f *fake, opts ...SubscribeOption) (*follower, *peerConn, <-chan error) {
	w := &follower{t: t, f: f}
	w.c = f.client(func(o *Options) { o.OnGap = func(g Gap) { w.gaps = append(w.gaps, g) } })
	p := f.welcome()
	done := async(func() error {
		return w.c.Subscribe(t.Context(), "log", func(m Message) {
			text := fmt.Sprintf("%s@%s:%d", m.Data, m.Position.Epoch, m.Position.Offset)
			if m.Replayed {
				text += "*"
			}
			w.came = append(w.came, text)
		}, opts...)
	})
	return w, p, done
}

// subscribed waits for the subscribe, and answers it with more fields.
func (w *follower) subscribed(p *peerConn, since *Position, last int, ack string) {
	w.t.Helper()
	f, text := p.request()
	begins := since != nil && f.Since != nil && *f.Since == *since || since == nil && f.Last != nil && *f.Last == last
	if f.Type != protocol.TypeSubscribe || f.Channel != "log" || !begins {
		w.t.Fatalf("the client sent %s, want since %+v, last %d", text, since, last)
	}
	p.say(`{"type":"ack","requestId":"` + f.RequestID + `"` + ack + `}`)
}

func (w *follower) want(came string, gaps ...Gap) {
	w.t.Helper()
	synctest.Wait()
	if got := fmt.Sprint(w.came); got != came {
		w.t.Errorf("%s came, want %s", got, came)
	}
	if fmt.Sprint(w.gaps) != fmt.Sprint(gaps) {
		w.t.Errorf("the gaps are %v, want %v", w.gaps, gaps)
	}
	w.came, w.gaps = nil, nil
}

// again breaks the connection and waits for the next.
func (w *follower) again(p *peerConn) *peerConn {
	w.t.Helper()
	_ = p.Close()
	return w.f.welcome()
}

func live(p *peerConn, offset int) {
	p.say(fmt.Sprintf(`{"type":"message","channel":"log","from":"a","data":%d,"offset":%d}`, offset, offset))
}

func replayed(p *peerConn, offset int) {
	p.say(fmt.Sprintf(`{"type":"message","channel":"log","from":"a","data":%d,"offset":%d,"replayed":true}`, offset, offset))
}

func at(epoch string, offset uint64) *Position { return &Position{Epoch: epoch, Offset: offset} }

func ok(t *testing.T, done <-chan error) {
	t.Helper()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A subscription goes on where it was, over as many connections as it takes.
func TestSubscriptionsRecover(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		w, p, done := follow(t, f)
		w.subscribed(p, nil, 0, `,"epoch":"a","offset":40`)
		ok(t, done)
		live(p, 41)
		live(p, 42)
		w.want("[41@a:41 42@a:42]")

		// Own messages have the offsets between: that is no gap.
		live(p, 45)
		w.want("[45@a:45]")
		p = w.again(p)
		w.subscribed(p, at("a", 45), 0, `,"epoch":"a","offset":48,"recovered":true`)
		replayed(p, 46)
		w.want("[46@a:46*]")

		// In the middle of a replay the connection breaks.
		p = w.again(p)
		w.subscribed(p, at("a", 46), 0, `,"epoch":"a","offset":48,"recovered":true`)
		p = w.again(p) // and again before the first message
		w.subscribed(p, at("a", 46), 0, `,"epoch":"a","offset":48,"recovered":true`)
		replayed(p, 47)
		replayed(p, 48)
		live(p, 49)
		w.want("[47@a:47* 48@a:48* 49@a:49]")

		// Too much is forgotten; what is still there follows.
		p = w.again(p)
		w.subscribed(p, at("a", 49), 0, `,"epoch":"a","offset":90,"recovered":false`)
		replayed(p, 89)
		w.want("[89@a:89*]", Gap{"log", *at("a", 49), *at("a", 90)})
		p = w.again(p)
		w.subscribed(p, at("a", 89), 0, `,"epoch":"a","offset":90,"recovered":true`)
		replayed(p, 90)
		w.want("[90@a:90*]")

		// Redis has lost its data.
		p = w.again(p)
		w.subscribed(p, at("a", 90), 0, `,"epoch":"b","offset":1,"recovered":false`)
		replayed(p, 1)
		w.want("[1@b:1*]", Gap{"log", *at("a", 90), *at("b", 1)})

		// The service says that messages are lost.
		p.say(`{"type":"gap","channel":"log","epoch":"c","offset":7}`)
		live(p, 8)
		w.want("[8@c:8]", Gap{"log", *at("b", 1), *at("c", 7)})

		// The channel remembers nothing any more: told once.
		p = w.again(p)
		w.subscribed(p, at("c", 8), 0, `,"recovered":false`)
		p.message("log", "9")
		w.want("[9@:0]", Gap{Channel: "log", After: *at("c", 8)})
		p = w.again(p)
		w.subscribed(p, nil, 0, ``)
		w.want("[]")
	})
}

// A subscription that was never interrupted is told of what its node could not deliver, and
// goes on there after a reconnect: what came since is not replayed.
func TestGapOnTheFirstConnection(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		w, p, done := follow(t, f)
		w.subscribed(p, nil, 0, `,"epoch":"a","offset":40`)
		ok(t, done)
		live(p, 41)
		p.say(`{"type":"gap","channel":"log","epoch":"b","offset":2}`)
		live(p, 3)
		w.want("[41@a:41 3@b:3]", Gap{"log", *at("a", 41), *at("b", 2)})
		p = w.again(p)
		w.subscribed(p, at("b", 3), 0, `,"epoch":"b","offset":3,"recovered":true`)
		live(p, 4)
		w.want("[4@b:4]")
	})
}

// A pattern is told of no gaps, and asks for nothing that would be refused.
func TestPatternsAskForNoHistory(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		if s := subscribe(c, p, "devices/*/log", func(Message) {}); s.Last != nil || s.Since != nil {
			t.Errorf("subscribed with last %v, since %v", s.Last, s.Since)
		}
	})
}

// A channel that is empty, and stays so, costs no gap.
func TestNothingIsMissedOfASilentChannel(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		w, p, done := follow(t, f, Last(5))
		w.subscribed(p, nil, 5, `,"epoch":"a","offset":0`)
		ok(t, done)
		p = w.again(p)
		w.subscribed(p, at("a", 0), 0, `,"epoch":"a","offset":2,"recovered":true`)
		replayed(p, 1)
		replayed(p, 2)
		w.want("[1@a:1* 2@a:2*]")
	})
}

func TestLast(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		w, p, done := follow(t, f, Last(3))
		w.subscribed(p, nil, 3, `,"epoch":"a","offset":40`)
		ok(t, done)
		// The connection breaks before the messages that were asked for.
		p = w.again(p)
		w.subscribed(p, at("a", 37), 0, `,"epoch":"a","offset":40,"recovered":true`)
		for n := 38; n <= 40; n++ {
			replayed(p, n)
		}
		w.want("[38@a:38* 39@a:39* 40@a:40*]")
		p = w.again(p)
		w.subscribed(p, at("a", 40), 0, `,"epoch":"a","offset":40,"recovered":true`)
		w.want("[]")
	})
	// Fewer are there than were asked for: that is no gap, if nothing came since.
	bubble(t, func(t *testing.T, f *fake) {
		w, p, done := follow(t, f, Last(3))
		w.subscribed(p, nil, 3, `,"epoch":"a","offset":40`)
		ok(t, done)
		p = w.again(p)
		w.subscribed(p, at("a", 37), 0, `,"epoch":"a","offset":40,"recovered":false`)
		w.want("[]")
		p = w.again(p)
		w.subscribed(p, at("a", 40), 0, `,"epoch":"a","offset":41,"recovered":true`)
		replayed(p, 41)
		w.want("[41@a:41*]")
	})
}

func TestSince(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		w, p, done := follow(t, f, Since(*at("a", 7)))
		p = w.again(p) // before the first ack
		w.subscribed(p, at("a", 7), 0, `,"epoch":"a","offset":9,"recovered":false`)
		ok(t, done)
		replayed(p, 9)
		w.want("[9@a:9*]", Gap{"log", *at("a", 7), *at("a", 9)})

		// Subscribing again begins anew.
		done = async(func() error { return w.c.Subscribe(t.Context(), "log", func(Message) {}, Last(1)) })
		w.subscribed(p, nil, 1, `,"epoch":"a","offset":9`)
		ok(t, done)
	})
}

// A message that comes by a pattern before the subscribe is acked does not move it past
// those that it has to get.
func TestAMessageBeforeTheAckMovesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		w, p, done := follow(t, f)
		w.subscribed(p, nil, 0, `,"epoch":"a","offset":40`)
		ok(t, done)
		p = w.again(p)
		live(p, 43)
		p.say(`{"type":"gap","channel":"log","epoch":"a","offset":43}`) // not ours
		request, _ := p.request()
		if request.Since == nil || *request.Since != *at("a", 40) {
			t.Fatalf("since %+v", request.Since)
		}
		p = w.again(p)
		w.subscribed(p, at("a", 40), 0, `,"epoch":"a","offset":43,"recovered":true`)
		w.want("[43@:43]")
	})
}

func TestWrongStarts(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		f.welcome()
		for name, opt := range map[string]SubscribeOption{"none": Last(0), "fewer": Last(-1), "too many": Last(1001)} {
			if err := c.Subscribe(t.Context(), "log", func(Message) {}, opt); err == nil || CodeOf(err) != "" {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, opt := range []SubscribeOption{Last(1), Since(*at("a", 1))} {
			if err := c.Subscribe(t.Context(), "log/*", func(Message) {}, opt); err == nil {
				t.Error("a pattern was taken")
			}
		}
	})
}

func TestPublishUnderConditions(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		publish := func(m Outgoing) (<-chan error, *Published) {
			var got Published
			return async(func() (err error) {
				got, err = c.PublishMessage(t.Context(), m)
				return err
			}), &got
		}
		done, got := publish(Outgoing{Channel: "state", Data: 1, If: at("a", 0), IdempotencyKey: "k"})
		request, text := p.request()
		if request.IdempotencyKey != "k" || request.IfOffset == nil || *request.IfOffset != 0 || request.IfEpoch != "a" || string(request.Data) != "1" {
			t.Errorf("sent %s", text)
		}
		// The answer is lost: with a key the same is sent again.
		_ = p.Close()
		p = f.welcome()
		request, again := p.request()
		if request.IdempotencyKey != "k" || string(request.Data) != "1" {
			t.Errorf("sent %s, and then %s", text, again)
		}
		p.say(`{"type":"ack","requestId":"` + request.RequestID + `","epoch":"a","offset":1}`)
		ok(t, done)
		if got.Position != *at("a", 1) {
			t.Errorf("published %+v", *got)
		}

		done, _ = publish(Outgoing{Channel: "state", Data: 1, If: at("a", 0)})
		request, _ = p.request()
		p.say(`{"type":"error","requestId":"` + request.RequestID + `","code":"offset_mismatch","message":"no","epoch":"a","offset":3}`)
		err := <-done
		wantCode(t, err, protocol.OffsetMismatch)
		if refused := asError(err); refused == nil || refused.Position == nil || *refused.Position != *at("a", 3) {
			t.Errorf("refused with %+v", refused)
		}

		done, _ = publish(Outgoing{Channel: "state", Data: 1})
		if _, text = p.request(); text != `{"type":"publish","channel":"state","data":1,"requestId":"3"}` {
			t.Errorf("sent %s", text)
		}
		_ = p.Close()
		wantErr(t, <-done, ErrConnectionLost)
		f.welcome()

		for name, m := range map[string]Outgoing{
			"a sender":        {Channel: "state", Data: 1, From: "x"},
			"metadata":        {Channel: "state", Data: 1, Metadata: 1},
			"no epoch":        {Channel: "state", Data: 1, If: &Position{}},
			"a pattern":       {Channel: "state/*", Data: 1},
			"data of no JSON": {Channel: "state", Data: time.Now},
		} {
			if _, err := c.PublishMessage(t.Context(), m); err == nil {
				t.Errorf("%s was taken", name)
			}
		}
	})
}

// A subscription is replaced before the service has answered. A third subscribe makes sure which one
// counts; its ack, which recovers nothing as none was asked for, is no gap.
func TestReplacedWhileUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		w, p, first := follow(t, f)
		one, _ := p.request()
		second := async(func() error { return w.c.Subscribe(t.Context(), "log", func(Message) {}) })
		two, _ := p.request()
		wantErr(t, <-first, errReplaced)
		p.say(`{"type":"ack","requestId":"` + one.RequestID + `","epoch":"e","offset":1}`)
		three, text := p.request()
		if three.Last == nil || *three.Last != 0 {
			t.Errorf("the client sent %s, want last 0", text)
		}
		p.say(`{"type":"ack","requestId":"` + two.RequestID + `","epoch":"e","offset":2}`)
		wantErr(t, <-second, nil)
		p.say(`{"type":"ack","requestId":"` + three.RequestID + `","epoch":"e","offset":3}`)
		w.want("[]")
	})
}
