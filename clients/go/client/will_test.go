package client

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/protocol"
)

// grantWill waits for a will and acks it.
func (p *peerConn) grantWill(channel, data string, delayMs int64) {
	p.t.Helper()
	f := p.grant(protocol.TypeWill, channel)
	if string(f.Data) != data || f.DelayMs != delayMs {
		p.t.Errorf("the will is %s after %d ms, want %s after %d", f.Data, f.DelayMs, data, delayMs)
	}
}

// A will is set on each connection, before subscriptions, until it is taken back.
func TestWill(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		set := async(func() error {
			return c.SetWill(t.Context(), "status", map[string]bool{"online": false}, 1500*time.Millisecond)
		})
		synctest.Wait()
		p := f.welcome()
		for range 2 { // the connection sets it, and the call
			p.grantWill("status", `{"online":false}`, 1500)
		}
		wantErr(t, <-set, nil)

		subscribed := async(func() error { return c.Subscribe(t.Context(), "a", func(Message) {}) })
		p.grant(protocol.TypeSubscribe, "a")
		wantErr(t, <-subscribed, nil)
		p.shut(protocol.CloseGoingAway)
		p = f.welcome()
		p.grantWill("status", `{"online":false}`, 1500)
		p.grant(protocol.TypeSubscribe, "a")

		set = async(func() error { return c.SetWill(t.Context(), "status", 2, 0) })
		p.grantWill("status", `2`, 0)
		wantErr(t, <-set, nil)
		cleared := async(func() error { return c.ClearWill(t.Context()) })
		p.grantWill("", "", 0)
		wantErr(t, <-cleared, nil)
		p.shut(protocol.CloseGoingAway)
		p = f.welcome()
		p.grant(protocol.TypeSubscribe, "a")
		p.shut(protocol.CloseGoingAway)
		wantErr(t, c.ClearWill(t.Context()), nil) // not connected, and none
	})
}

// A will that the service refuses is none, and the former one stays.
func TestWillRefused(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		synctest.Wait()
		set := async(func() error { return c.SetWill(t.Context(), "good", 1, 0) })
		p.grantWill("good", "1", 0)
		wantErr(t, <-set, nil)
		set = async(func() error { return c.SetWill(t.Context(), "bad", 2, 0) })
		r, _ := p.request()
		p.refuse(r, protocol.ChannelNotAuthorized)
		wantCode(t, <-set, protocol.ChannelNotAuthorized)

		// On another connection Redis does not take it at first, and then for good.
		p.shut(protocol.CloseGoingAway)
		p = f.welcome()
		r, _ = p.request()
		if r.Channel != "good" {
			t.Errorf("the will is on %q", r.Channel)
		}
		p.refuse(r, protocol.BackendError)
		p.grantWill("good", "1", 0)
		if errs := f.errors(); len(errs) != 1 || CodeOf(errs[0]) != protocol.BackendError {
			t.Errorf("reported: %v", errs)
		}

		// It is lost on the way: the next connection has it.
		set = async(func() error { return c.SetWill(t.Context(), "next", 3, 0) })
		p.request()
		p.shut(protocol.CloseGoingAway)
		p = f.welcome()
		p.grantWill("next", "3", 0)
		p.grantWill("next", "3", 0)
		wantErr(t, <-set, nil)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantErr(t, c.SetWill(ctx, "later", 4, 0), context.Canceled)
	})
}

// The client refuses an invalid will without asking the service.
func TestWillThatCannotBe(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		f.welcome()
		wantCode(t, c.SetWill(t.Context(), "a/../b", 1, 0), protocol.InvalidChannel)
		wantErr(t, c.SetWill(t.Context(), "a", strings.Repeat("x", 4095), 0), ErrTooLarge)
		for _, delay := range []time.Duration{-time.Second, 24*time.Hour + time.Millisecond} {
			if err := c.SetWill(t.Context(), "a", 1, delay); err == nil || !strings.Contains(err.Error(), "it must be 0 to 24h") {
				t.Errorf("%v: %v", delay, err)
			}
		}
		if err := c.SetWill(t.Context(), "a", make(chan int), 0); err == nil {
			t.Error("a channel has no JSON")
		}
		c.Close()
		wantErr(t, c.SetWill(t.Context(), "a", 1, 0), ErrClosed)
		wantErr(t, c.ClearWill(t.Context()), ErrClosed)
	})
}
