package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
)

// recorder is a handler that keeps what it is given.
type recorder struct {
	t   *testing.T
	got []Message // the dispatching goroutine's; read it after synctest.Wait
}

func (r *recorder) handle(m Message) { r.got = append(r.got, m) }

// datas are the messages so far, as channel=data.
func (r *recorder) datas() string {
	synctest.Wait()
	var all []string
	for _, m := range r.got {
		all = append(all, m.Channel+"="+string(m.Data))
	}
	return strings.Join(all, " ")
}

func (r *recorder) want(datas string) {
	r.t.Helper()
	if got := r.datas(); got != datas {
		r.t.Errorf("handled %s, want %s", got, datas)
	}
}

// subscribe subscribes, and has the fake grant it.
func subscribe(c *Client, p *peerConn, channel string, handle func(Message), opts ...SubscribeOption) protocol.ClientFrame {
	p.t.Helper()
	done := async(func() error { return c.Subscribe(p.t.Context(), channel, handle, opts...) })
	f := p.grant(protocol.TypeSubscribe, channel)
	if err := <-done; err != nil {
		p.t.Fatal(err)
	}
	return f
}

func TestSubscribeWaitsForTheAck(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		r := &recorder{t: t}
		done := async(func() error { return c.Subscribe(t.Context(), "devices/a/commands", r.handle) })
		request, text := p.request()
		if want := `{"type":"subscribe","channel":"devices/a/commands","last":0,"requestId":"1"}`; text != want {
			t.Errorf("sent %s, want %s", text, want)
		}
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Subscribe returned %v before the ack", err)
		default:
		}
		// A message may come right behind the ack, and before Subscribe returns.
		p.say(string(protocol.AppendAck(nil, request.RequestID)))
		p.message("devices/a/commands", `{"n": 12345678901234567890 }`)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.want(`devices/a/commands={"n": 12345678901234567890 }`)
		if r.got[0].From != "sender" || r.got[0].SenderMetadata != nil || r.got[0].Missed != 0 {
			t.Errorf("message %+v", r.got[0])
		}
	})
}

// Each message goes to every handler whose subscription matches, and in the order in
// which it came.
func TestRouting(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		var got []string
		as := func(name string) func(Message) {
			return func(m Message) { got = append(got, name+":"+m.Channel+"="+string(m.Data)) }
		}
		subscribe(c, p, "devices/*/events", as("wild"))
		subscribe(c, p, "devices/a/events", as("old"))
		first := subscribe(c, p, "devices/a/events", as("exact"), WithSenderMetadata())
		if !first.IncludeSenderMetadata {
			t.Error("the sender's metadata was not asked for")
		}
		subscribe(c, p, "devices/**", as("wildest"))
		p.message("devices/a/events", "1")
		p.message("devices/b/events", "2")
		p.message("devices/a/b", "3")
		p.message("fleets/a", "4")
		p.message("devices/*/events", "5") // no such name: nobody's but the patterns'
		synctest.Wait()
		want := []string{
			"exact:devices/a/events=1", "wild:devices/a/events=1", "wildest:devices/a/events=1",
			"wild:devices/b/events=2", "wildest:devices/b/events=2",
			"wildest:devices/a/b=3",
			"wild:devices/*/events=5", "wildest:devices/*/events=5",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("handled\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestSenderMetadata(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		r := &recorder{t: t}
		subscribe(c, p, "c", r.handle, WithSenderMetadata())
		p.say(string(protocol.AppendMessage(nil, "c", "a", []byte(`{"site": 7}`), []byte("null"))))
		r.want("c=null")
		if got := string(r.got[0].SenderMetadata); got != `{"site": 7}` {
			t.Errorf("metadata %s", got)
		}
	})
}

func TestSubscribeRefused(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		r := &recorder{t: t}
		done := async(func() error { return c.Subscribe(t.Context(), "c", r.handle) })
		request, _ := p.request()
		p.refuse(request, protocol.ChannelNotAuthorized)
		wantCode(t, <-done, protocol.ChannelNotAuthorized)
		p.message("c", "1")
		r.want("")
		// It is gone: a new connection does not ask for it.
		_ = p.Close()
		p = f.welcome()
		subscribe(c, p, "d", r.handle)
	})
}

// A name that breaks the rules is refused with the service's code, without asking it.
func TestBadNames(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(func(o *Options) { o.QueueBytes = 1 })
		for _, name := range []string{"", "a/../b", "a\nb", "\xff", strings.Repeat("x", 257)} {
			wantCode(t, c.Subscribe(t.Context(), name, func(Message) {}), protocol.InvalidChannel)
			wantCode(t, c.Publish(t.Context(), name, 1), protocol.InvalidChannel)
			wantCode(t, c.PublishNoAck(t.Context(), name, 1), protocol.InvalidChannel)
		}
		wantCode(t, c.Publish(t.Context(), "devices/*", 1), protocol.InvalidChannel)
		if err := c.Subscribe(t.Context(), "c", nil); err == nil {
			t.Error("a nil handler was taken")
		}
	})
}

// When Subscribe gives up, the service is told, for its ack may be under way.
func TestSubscribeGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := &recorder{t: t}
		done := async(func() error { return c.Subscribe(ctx, "c", r.handle) })
		late, _ := p.request()
		wantErr(t, <-done, context.DeadlineExceeded)
		p.grant(protocol.TypeUnsubscribe, "c")
		p.say(string(protocol.AppendAck(nil, late.RequestID)))
		p.message("c", "1")
		p.grant(protocol.TypeUnsubscribe, "c") // in case it overtook the subscribe
		r.want("")
	})
}

func TestUnsubscribe(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		r := &recorder{t: t}
		subscribe(c, p, "c", r.handle)
		subscribe(c, p, "*", r.handle)
		for _, name := range []string{"c", "*"} {
			done := async(func() error { return c.Unsubscribe(t.Context(), name) })
			p.grant(protocol.TypeUnsubscribe, name)
			wantErr(t, <-done, nil)
		}
		p.message("c", "1") // was under way
		r.want("")
		wantErr(t, c.Unsubscribe(t.Context(), "c"), nil) // again
		wantErr(t, c.Unsubscribe(t.Context(), "never"), nil)
	})
}

// Unsubscribe ends a Subscribe that still waits, which otherwise would do so for ever.
func TestUnsubscribeWhileSubscribing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		done := async(func() error { return c.Subscribe(t.Context(), "c", func(Message) {}) })
		synctest.Wait()
		wantErr(t, c.Unsubscribe(t.Context(), "c"), nil)
		wantErr(t, <-done, errReplaced)
		p := f.welcome()
		subscribe(c, p, "d", func(Message) {}) // the first frame is not c's
	})
}

func TestSubscriptionsAreRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		r := &recorder{t: t}
		subscribe(c, p, "a", r.handle, WithSenderMetadata())
		subscribe(c, p, "b/*", r.handle)
		_ = p.Close()
		synctest.Wait()
		// One more, made while there is no connection.
		waiting := async(func() error { return c.Subscribe(t.Context(), "c", r.handle) })
		publishing := async(func() error { return c.Publish(t.Context(), "events", 1) })
		p = f.welcome()
		var renewed []string
		var last protocol.ClientFrame
		for n := range 3 {
			last, _ = p.request()
			renewed = append(renewed, fmt.Sprint(last.Channel, " ", last.IncludeSenderMetadata))
			if n < 2 {
				p.say(string(protocol.AppendAck(nil, last.RequestID)))
			}
		}
		if want := []string{"a true", "b/* false", "c false"}; !reflect.DeepEqual(renewed, want) {
			t.Errorf("subscribed to %q, want %q", renewed, want)
		}
		if states := f.states(); !strings.HasSuffix(states, "connecting, connected") {
			t.Errorf("live before the last ack: %s", states)
		}
		p.say(string(protocol.AppendAck(nil, last.RequestID)))
		wantErr(t, <-waiting, nil)
		if states := f.states(); !strings.HasSuffix(states, "connecting, connected, live") {
			t.Errorf("states: %s", states)
		}
		// Not before: an answer to it could have been missed.
		p.grant(protocol.TypePublish, "events")
		wantErr(t, <-publishing, nil)
		p.message("b/1", "1")
		p.message("a", "2")
		p.message("c", "3")
		r.want("b/1=1 a=2 c=3")
	})
}

// Two calls for one channel at the same time: the later one counts, also when the
// service could have had them in the other order.
func TestSubscribeTwiceAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		r := &recorder{t: t}
		first := async(func() error {
			return c.Subscribe(t.Context(), "c", func(Message) { t.Error("the old handler was called") })
		})
		one, _ := p.request()
		second := async(func() error { return c.Subscribe(t.Context(), "c", r.handle, WithSenderMetadata()) })
		p.grant(protocol.TypeSubscribe, "c")
		wantErr(t, <-first, errReplaced)
		wantErr(t, <-second, nil)
		p.say(string(protocol.AppendAck(nil, one.RequestID)))
		if again := p.grant(protocol.TypeSubscribe, "c"); !again.IncludeSenderMetadata {
			t.Error("what the program wants was not confirmed after the late ack")
		}
		p.message("c", "1")
		r.want("c=1")
	})
}

// What waited behind a link that took nothing, and was never sent, goes out on the
// next connection: it can't have been published.
func TestPublishIsSentOnce(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(func(o *Options) { o.FramesPerSecond = 1000 })
		conn := f.raw()
		if _, err := ws.Upgrade(conn); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = conn.Write(protocol.AppendTextFrame(nil, []byte(`{"type":"welcome","peerId":"a"}`)))
		}()
		synctest.Wait()
		full, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for c.PublishNoAck(full, "noise", 1) == nil {
		}
		done := async(func() error { return c.Publish(t.Context(), "c", 1) })
		synctest.Wait()
		_ = conn.Close()
		f.welcome().grant(protocol.TypePublish, "c")
		wantErr(t, <-done, nil)
	})
}

// A connection lost between a subscribe and its answer: the next one answers.
func TestSubscribeOverTwoConnections(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		done := async(func() error { return c.Subscribe(t.Context(), "c", func(Message) {}) })
		p.request()
		_ = p.Close()
		f.welcome().grant(protocol.TypeSubscribe, "c")
		wantErr(t, <-done, nil)
	})
}

func TestRenewalRefused(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		r := &recorder{t: t}
		subscribe(c, p, "c", r.handle)
		_ = p.Close()

		// The store is away for a while: asked again on the same connection.
		p = f.welcome()
		request, _ := p.request()
		p.refuse(request, protocol.BackendError)
		at := time.Now()
		request, _ = p.request()
		if pause := time.Since(at); pause != 2*retrySubscribe {
			t.Errorf("asked again after %v, want %v", pause, 2*retrySubscribe)
		}
		if strings.HasSuffix(f.states(), "live") {
			t.Error("live without the subscription")
		}
		// The new token does not cover the channel any more: the program is told.
		p.refuse(request, protocol.ChannelNotAuthorized)
		if !strings.HasSuffix(f.states(), "live") {
			t.Errorf("states: %s", f.states())
		}
		errs := f.errors()
		if len(errs) != 2 {
			t.Fatalf("reported %v, want two errors", errs)
		}
		wantCode(t, errs[0], protocol.BackendError)
		if refused, ok := errors.AsType[*Error](errs[0]); !ok || refused.Outcome != protocol.OutcomeNone {
			t.Errorf("%v has the outcome %q, want none", errs[0], refused.Outcome)
		}
		wantCode(t, errs[1], protocol.ChannelNotAuthorized)
		// The next token may: asked again.
		_ = p.Close()
		p = f.welcome()
		p.grant(protocol.TypeSubscribe, "c")
		p.message("c", "1")
		r.want("c=1")
	})
}

func TestPublish(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		// There are no subtests in a bubble.
		step := func(name string, run func(t *testing.T)) { t.Log(name); run(t) }
		for _, tt := range []struct {
			name string
			data any
			want string
		}{
			{"a map", map[string]any{"motion": true}, `{"motion":true}`},
			{"null", nil, "null"},
			{"a nil RawMessage", json.RawMessage(nil), "null"},
			{"raw, byte for byte", json.RawMessage(`{ "n":1.0, "n":12345678901234567890 }`), `{ "n":1.0, "n":12345678901234567890 }`},
			{"no HTML escapes", "<&>", `"<&>"`},
		} {
			step(tt.name, func(t *testing.T) {
				done := async(func() error { return c.Publish(t.Context(), `a/"b"`, tt.data) })
				request, _ := p.request()
				if request.Channel != `a/"b"` || string(request.Data) != tt.want {
					t.Errorf("published %s to %s, want %s", request.Data, request.Channel, tt.want)
				}
				p.say(string(protocol.AppendAck(nil, request.RequestID)))
				wantErr(t, <-done, nil)
			})
		}
		for name, data := range map[string]any{
			"no JSON": func() {}, "not a number": math.NaN(), "raw garbage": json.RawMessage(`{"a":`), "raw and empty": json.RawMessage{},
			"raw and two values": json.RawMessage("1 2"), "not UTF-8": json.RawMessage("\"\xff\""),
		} {
			step(name, func(t *testing.T) {
				if err := c.Publish(t.Context(), "c", data); err == nil {
					t.Error("published")
				}
			})
		}
		step("answers in another order", func(t *testing.T) {
			first := async(func() error { return c.Publish(t.Context(), "c", 1) })
			one, _ := p.request()
			second := async(func() error { return c.Publish(t.Context(), "c", 2) })
			two, _ := p.request()
			p.refuse(two, protocol.OverMessageQuota)
			wantCode(t, <-second, protocol.OverMessageQuota)
			p.say(string(protocol.AppendAck(nil, one.RequestID)))
			wantErr(t, <-first, nil)
		})
		step("answered twice", func(t *testing.T) {
			done := async(func() error { return c.Publish(t.Context(), "c", 1) })
			request, _ := p.request()
			for range 3 {
				p.say(string(protocol.AppendAck(nil, request.RequestID)))
			}
			p.refuse(request, protocol.BackendError)
			wantErr(t, <-done, nil)
		})
		step("no answer", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			done := async(func() error { return c.Publish(ctx, "c", 1) })
			late, _ := p.request()
			wantErr(t, <-done, context.DeadlineExceeded)
			p.say(string(protocol.AppendAck(nil, late.RequestID))) // finds nobody
		})
		step("the connection is lost", func(t *testing.T) {
			done := async(func() error { return c.Publish(t.Context(), "c", 1) })
			p.request()
			_ = p.Close()
			wantErr(t, <-done, ErrConnectionLost)
		})
		step("waits for a connection", func(t *testing.T) {
			done := async(func() error { return c.Publish(t.Context(), "c", 1) })
			wantErr(t, c.PublishNoAck(t.Context(), "c", 1), ErrNotConnected)
			f.welcome().grant(protocol.TypePublish, "c")
			wantErr(t, <-done, nil)
		})
	})
}

func TestPublishNoAck(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		synctest.Wait()
		wantErr(t, c.PublishNoAck(t.Context(), "c", 1), nil)
		request, text := p.request()
		if want := `{"type":"publish","channel":"c","data":1}`; text != want {
			t.Errorf("sent %s, want %s", text, want)
		}
		p.refuse(request, protocol.OverMessageQuota)
		if errs := f.errors(); len(errs) != 1 || CodeOf(errs[0]) != protocol.OverMessageQuota {
			t.Errorf("reported %v", errs)
		}
	})
}

// What is sent just fits, or is not sent: over the bound the service would close the
// connection with 1009.
func TestTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		envelope := len(`{"type":"publish","channel":"c","data":""`) + requestIDRoom
		fits := strings.Repeat("x", protocol.MaxFrameBytes-envelope)
		done := async(func() error { return c.Publish(t.Context(), "c", fits) })
		p.grant(protocol.TypePublish, "c")
		wantErr(t, <-done, nil)
		wantErr(t, c.Publish(t.Context(), "c", fits+"x"), ErrTooLarge)
		wantErr(t, c.PublishNoAck(t.Context(), "c", fits+"x"), ErrTooLarge)
	})
}

// TestHandlersAreSlow: while a handler hangs, pings and acks are answered, and a
// bounded number of messages waits.
func TestHandlersAreSlow(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		const fit = 10
		size := messageOverhead + len("c") + len("100")
		c := f.client(func(o *Options) { o.QueueBytes = fit * size })
		p := f.welcome()
		release := make(chan struct{})
		r := &recorder{t: t}
		subscribe(c, p, "c", func(m Message) { <-release; r.handle(m) })
		p.message("c", "100") // in the handler's hands
		synctest.Wait()
		for n := range 15 {
			p.message("c", strconv.Itoa(101+n))
		}
		p.write(protocol.PingFrame)
		if pong, _ := p.next(); pong.Header.OpCode != ws.OpPong {
			t.Errorf("a ping is answered with %v", pong.Header)
		}
		done := async(func() error { return c.Publish(t.Context(), "d", 1) })
		p.grant(protocol.TypePublish, "d")
		wantErr(t, <-done, nil)
		close(release)
		synctest.Wait()
		p.message("c", "200")
		p.message("c", "201")
		synctest.Wait()
		if len(r.got) != 1+fit+2 || string(r.got[fit].Data) != "110" {
			t.Fatalf("handled %s; want 100 to 110, 200 and 201", r.datas())
		}
		for n, m := range r.got {
			if want := map[bool]int{true: 5}[string(m.Data) == "200"]; m.Missed != want {
				t.Errorf("message %d, %s, has Missed %d, want %d", n, m.Data, m.Missed, want)
			}
		}
		if log := f.log.String(); strings.Count(log, "messages are dropped") != 1 {
			t.Errorf("the log should tell once:\n%s", log)
		}
	})
}

// One message always fits, however small the bound.
func TestQueueOfOneByte(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(func(o *Options) { o.QueueBytes = 1 })
		p := f.welcome()
		r := &recorder{t: t}
		subscribe(c, p, "c", r.handle)
		for n := range 3 {
			p.message("c", strconv.Itoa(n))
			synctest.Wait()
		}
		r.want("c=0 c=1 c=2")
	})
}

// A handler that never returns, under a service that is restarted for months: what
// waits for it stays bounded.
func TestNoticesAreBounded(t *testing.T) {
	q := newQueue(1)
	for n := range 3 * maxNotices {
		q.put(item{err: errors.New(strconv.Itoa(n))})
	}
	q.finish()
	stop := make(chan struct{})
	var first, last string
	n := 0
	for i, ok := q.take(stop); ok; i, ok = q.take(stop) {
		if n++; n == 1 {
			first = i.err.Error()
		}
		last = i.err.Error()
	}
	if n != maxNotices || first != strconv.Itoa(2*maxNotices) || last != strconv.Itoa(3*maxNotices-1) {
		t.Errorf("%d notices are left, from %s to %s", n, first, last)
	}
}

func TestHandlersMayCallTheClient(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		var c *Client
		results := make(chan error, 3)
		r := &recorder{t: t}
		c = f.client(func(o *Options) {
			o.OnState = func(s Change) {
				if s.State == Live {
					results <- c.Subscribe(t.Context(), "a", func(m Message) {
						results <- c.Publish(t.Context(), "b", m.Data)
						c.Close()
						results <- c.Publish(t.Context(), "b", m.Data)
					})
				}
			}
		})
		synctest.Wait()
		p := f.welcome()
		p.grant(protocol.TypeSubscribe, "a")
		wantErr(t, <-results, nil)
		p.message("a", "1")
		p.grant(protocol.TypePublish, "b")
		wantErr(t, <-results, nil)
		p.message("a", "2") // is not handled any more
		if code := p.closeCode(); code != ws.StatusNormalClosure {
			t.Errorf("close code %d", code)
		}
		wantErr(t, <-results, ErrClosed)
		<-c.Done()
		r.want("")
	})
}

func TestClose(t *testing.T) {
	t.Run("sends what was handed over, and ends in order", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			c := f.client()
			p := f.welcome()
			synctest.Wait()
			for n := range 20 {
				wantErr(t, c.PublishNoAck(t.Context(), "c", n), nil)
			}
			at := time.Now()
			closed := async(func() error { c.Close(); return c.Err() })
			for n := range 20 {
				if request, text := p.request(); string(request.Data) != strconv.Itoa(n) {
					t.Fatalf("frame %d is %s", n, text)
				}
			}
			if code := p.closeCode(); code != ws.StatusNormalClosure {
				t.Errorf("close code %d", code)
			}
			wantErr(t, <-closed, ErrClosed)
			if time.Since(at) != 0 {
				t.Errorf("it took %v", time.Since(at))
			}
			c.Close() // again
			<-c.Done()
			wantErr(t, c.Publish(t.Context(), "c", 1), ErrClosed)
			wantErr(t, c.PublishNoAck(t.Context(), "c", 1), ErrClosed)
			wantErr(t, c.Subscribe(t.Context(), "c", func(Message) {}), ErrClosed)
			wantErr(t, c.Unsubscribe(t.Context(), "c"), ErrClosed)
		})
	})
	t.Run("does not wait for a service that says nothing", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fake) {
			c := f.client()
			p := f.welcome()
			synctest.Wait()
			publishing := async(func() error { return c.Publish(t.Context(), "c", 1) })
			p.request()
			at := time.Now()
			c.Close()
			if took := time.Since(at); took != farewell {
				t.Errorf("it took %v, want %v", took, farewell)
			}
			err := <-publishing
			wantErr(t, err, ErrConnectionLost)
			wantErr(t, err, ErrClosed)
		})
	})
	t.Run("while it connects, waits or asks for a token", func(t *testing.T) {
		for name, hang := range map[string]func(f *fake, o *Options){
			"connects": func(*fake, *Options) {},
			"a token": func(_ *fake, o *Options) {
				o.Token = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
			},
			"waits": func(_ *fake, o *Options) { o.Token = func(context.Context) (string, error) { return "", nil } },
		} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T, f *fake) {
					c := f.client(func(o *Options) { hang(f, o) })
					waiting := async(func() error { return c.Subscribe(t.Context(), "c", func(Message) {}) })
					synctest.Wait()
					at := time.Now()
					c.Close()
					wantErr(t, <-waiting, ErrClosed)
					if time.Since(at) != 0 {
						t.Errorf("it took %v", time.Since(at))
					}
				})
			})
		}
	})
}

// More than the service takes is sent in time, and not at once.
func TestPace(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(func(o *Options) { o.FramesPerSecond = 50 })
		p := f.welcome()
		synctest.Wait()
		at := time.Now()
		done := async(func() error {
			var errs []error
			for n := range 200 {
				errs = append(errs, c.PublishNoAck(t.Context(), "c", n))
			}
			return errors.Join(errs...)
		})
		for n := range 200 {
			request, _ := p.request()
			if string(request.Data) != strconv.Itoa(n) {
				t.Fatalf("frame %d has %s", n, request.Data)
			}
			if most := 50 + int(50*time.Since(at).Seconds()+0.001); n >= most {
				t.Fatalf("frame %d came after %v", n, time.Since(at))
			}
		}
		wantErr(t, <-done, nil)
		if took := time.Since(at).Round(time.Millisecond); took != 3*time.Second {
			t.Errorf("200 frames took %v, want 3 s", took)
		}
	})
}

// A link that takes nothing any more: calls heed their contexts, and after 10 s the
// connection is given up.
func TestTheLinkTakesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(func(o *Options) { o.FramesPerSecond = 1000 })
		conn := f.raw() // nobody reads it after the handshake
		if _, err := ws.Upgrade(conn); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = conn.Write(protocol.AppendTextFrame(nil, []byte(`{"type":"welcome","peerId":"a"}`)))
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		for n := 0; n < 10*outFrames && err == nil; n++ {
			err = c.PublishNoAck(ctx, "c", n)
		}
		wantErr(t, err, context.DeadlineExceeded)
		at := time.Now()
		f.welcome()
		if took := time.Since(at); took != writeTimeout-time.Second+firstBound {
			t.Errorf("given up after %v", took)
		}
		_ = conn.Close()
		if err := fmt.Sprint(c.lastFailure()); !strings.Contains(err, "sending failed") {
			t.Errorf("the error is %s", err)
		}
	})
}

// TestHostileFrames: what the service would never say does no harm.
func TestHostileFrames(t *testing.T) {
	text := func(s string) []byte { return protocol.AppendTextFrame(nil, []byte(s)) }
	ignored := map[string][]byte{
		"garbage":                         text("\x00\x01\x02"),
		"invalid UTF-8":                   text("{\"type\":\"message\",\"channel\":\"c\",\"data\":\"\xff\"}"),
		"an empty frame":                  text(""),
		"an array":                        text(`[1,2,3]`),
		"half an object":                  text(`{"type":"message","channel":"c","data":`),
		"no type":                         text(`{"channel":"c","data":1}`),
		"a type that is a number":         text(`{"type":1}`),
		"a type of the future":            text(`{"type":"hologram","channel":"c","data":1}`),
		"a message without data":          text(`{"type":"message","channel":"c"}`),
		"a channel that is an object":     text(`{"type":"message","channel":{},"data":1}`),
		"nested a hundred thousand deep":  text(`{"type":"message","channel":"c","data":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`),
		"an ack of nothing":               text(`{"type":"ack","requestId":"999"}`),
		"an ack without an id":            text(`{"type":"ack"}`),
		"an error for nobody":             text(`{"type":"error","requestId":"999","code":"x","message":"y"}`),
		"a retryAfterMs that is a string": text(`{"type":"going_away","retryAfterMs":"soon"}`),
		"a second welcome":                text(`{"type":"welcome","peerId":"b"}`),
		"a pong that nobody asked for":    ws.MustCompileFrame(ws.NewPongFrame([]byte("x"))),
		"a binary frame":                  ws.MustCompileFrame(ws.NewBinaryFrame([]byte(`{"type":"message","channel":"c","data":1}`))),
		"a message to another channel":    text(`{"type":"message","channel":"d","data":1}`),
	}
	for name, bytes := range ignored {
		t.Run("ignored: "+name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				c := f.client()
				p := f.welcome()
				r := &recorder{t: t}
				subscribe(c, p, "c", r.handle)
				p.write(bytes)
				p.message("c", "2")
				r.want("c=2")
			})
		})
	}

	header := func(first byte, length uint64) []byte {
		b := []byte{first, 127}
		for shift := 56; shift >= 0; shift -= 8 {
			b = append(b, byte(length>>shift))
		}
		return b
	}
	fatal := map[string]struct {
		bytes []byte
		code  ws.StatusCode // that the client closes with; 0: none
	}{
		"a frame of a terabyte":              {header(0x81, 1<<40), 1009},
		"a frame of a negative length":       {header(0x81, 1<<63), 0},
		"a frame of one byte too much":       {header(0x81, maxFrameBytes+1), 1009},
		"fragments of too much together":     {append(append(ws.MustCompileFrame(ws.NewFrame(ws.OpText, false, make([]byte, maxFrameBytes/2))), ws.MustCompileFrame(ws.NewFrame(ws.OpContinuation, false, make([]byte, maxFrameBytes/2)))...), 0x80, 1), 1009},
		"a masked frame":                     {ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("{}")))), 1002},
		"reserved bits":                      {[]byte{0xF1, 2, '{', '}'}, 1002},
		"an unknown opcode":                  {[]byte{0x83, 0}, 1002},
		"a continuation of nothing":          {[]byte{0x80, 0}, 1002},
		"a ping of 126 bytes":                {append([]byte{0x89, 126, 0, 126}, make([]byte, 126)...), 1002},
		"a close frame of one byte":          {[]byte{0x88, 1, 3}, 0},
		"a close frame among fragments":      {[]byte{0x01, 1, '{', 0x88, 2, 0x03, 0xE9}, 1001},
		"a reason that is not UTF-8":         {[]byte{0x88, 4, 0x03, 0xE9, 0xFF, 0xFE}, 1001},
		"a close code that is no close code": {[]byte{0x88, 2, 0, 1}, 1},
	}
	for name, tt := range fatal {
		t.Run("fatal: "+name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				c := f.client()
				p := f.welcome()
				r := &recorder{t: t}
				subscribe(c, p, "c", r.handle)
				p.write(tt.bytes)
				var code ws.StatusCode
				for raw, ok := p.next(); ok; raw, ok = p.next() {
					if raw.Header.OpCode == ws.OpClose {
						code, _ = ws.ParseCloseFrameData(raw.Payload)
					}
				}
				if code != tt.code {
					t.Errorf("the client closed with %d, want %d", code, tt.code)
				}
				p = f.welcome() // and it comes back, as after any other end
				p.grant(protocol.TypeSubscribe, "c")
				p.message("c", "1")
				r.want("c=1")
			})
		})
	}
}

// The service vanishes at any byte of a frame: no part of it is handled, and the
// client comes back.
func TestVanishesMidFrame(t *testing.T) {
	whole := protocol.AppendTextFrame(nil, []byte(`{"type":"message","channel":"c","data":"`+strings.Repeat("x", 200)+`"}`))
	for _, n := range []int{0, 1, 2, 3, 4, 5, 100, len(whole) - 1} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				c := f.client()
				p := f.welcome()
				r := &recorder{t: t}
				subscribe(c, p, "c", r.handle)
				if n > 0 {
					p.write(whole[:n])
				}
				_ = p.Close()
				p = f.welcome()
				p.grant(protocol.TypeSubscribe, "c")
				p.message("c", "1")
				r.want("c=1")
				if err := fmt.Sprint(c.lastFailure()); err != "the network connection ended without a close frame" {
					t.Errorf("the error is %s", err)
				}
			})
		})
	}
}

// Fragments with a ping between them are one message (RFC 6455 §5.4), and the largest
// that the service may send is taken.
func TestLargeAndFragmented(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		var got Message
		subscribe(c, p, "c", func(m Message) { got = m })
		const head, tail = `{"type":"message","channel":"c","from":"a","data":"`, `"}`
		data := bytes.Repeat([]byte("x"), maxFrameBytes-len(head)-len(tail))
		whole := append(append([]byte(head), data...), tail...)
		p.write(ws.MustCompileFrame(ws.NewFrame(ws.OpText, false, whole[:1000])))
		p.write(ws.MustCompileFrame(ws.NewPingFrame([]byte("are you there"))))
		if pong, _ := p.next(); pong.Header.OpCode != ws.OpPong || string(pong.Payload) != "are you there" {
			t.Errorf("a ping is answered with %v %q", pong.Header, pong.Payload)
		}
		p.write(ws.MustCompileFrame(ws.NewFrame(ws.OpContinuation, true, whole[1000:])))
		synctest.Wait()
		if len(got.Data) != len(data)+2 {
			t.Errorf("%d bytes came, want %d", len(got.Data), len(data)+2)
		}
	})
}

func TestWelcome(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		f.client()
		f.welcome()
		f.states()
		want := Welcome{
			PeerID: "camera-001", ExpiresAt: time.Unix(1767225600, 0), ServerTime: time.Unix(1767222000, 0),
			MaxMessageSize: protocol.MaxFrameBytes, Metadata: json.RawMessage(`{"a":1}`),
		}
		if got := f.changes[1].Welcome; !reflect.DeepEqual(got, want) {
			t.Errorf("welcome %+v, want %+v", got, want)
		}
	})
}
