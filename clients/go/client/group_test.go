package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/protocol"
)

// event sends a message of a group.
func (p *peerConn) event(ackID, data string, attempt int) {
	p.say(string(protocol.AppendGroupMessage(nil, "devices/a", "cam", []byte(`{"n":1}`), []byte(data), protocol.GroupDelivery{Group: "ingest", AckID: ackID, PublishedAt: 1767222000123, Attempt: attempt})))
}

// joins wants the subscribe of a group, and acks it.
func (p *peerConn) joins(maxInFlight int) {
	p.t.Helper()
	f, text := p.request()
	if f.Type != protocol.TypeSubscribe || f.Group != "ingest" || f.MaxInFlight != maxInFlight || !f.IncludeSenderMetadata {
		p.t.Fatalf("the client sent %s, want a subscribe of the group", text)
	}
	p.acks(f)
}

// settles wants a group_ack with these ids, and these that are refused with their delays. It
// does not answer.
func (p *peerConn) settles(acks []string, nacks ...protocol.GroupNack) protocol.ClientFrame {
	p.t.Helper()
	f, text := p.request()
	if f.Type != protocol.TypeGroupAck || !slices.Equal(f.AckIDs, acks) || !slices.Equal(f.Nack, nacks) {
		p.t.Fatalf("the client sent %s, want acks of %q and nacks of %v", text, acks, nacks)
	}
	return f
}

// inGroup runs Group with a handler that hands over what it gets, and returns what is sent
// to answers.
type inGroup struct {
	got     chan []Event
	answers chan error
	over    <-chan error
}

func (f *fake) inGroup(ctx context.Context, c *Client, opts ...GroupOption) *inGroup {
	g := &inGroup{got: make(chan []Event), answers: make(chan error)}
	g.over = async(func() error {
		return c.Group(ctx, "ingest", func(_ context.Context, events []Event) error {
			g.got <- events
			return <-g.answers
		}, opts...)
	})
	return g
}

// wants waits for events with these ids, and has the handler return err.
func (g *inGroup) wants(t *testing.T, err error, ids ...string) []Event {
	t.Helper()
	events := <-g.got
	var got []string
	for _, e := range events {
		got = append(got, e.AckID)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("the handler got %q, want %q", got, ids)
	}
	g.answers <- err
	return events
}

// The client acknowledges events for which the handler returns nil, and has those on which it
// fails delivered again after a pause.
func TestGroupSettles(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		ctx, cancel := context.WithCancel(t.Context())
		g := f.inGroup(ctx, c)
		p.joins(100)
		p.event("a", `1.0`, 1)
		events := g.wants(t, nil, "a")
		want := Event{Channel: "devices/a", From: "cam", Data: []byte("1.0"), SenderMetadata: []byte(`{"n":1}`), PublishedAt: time.UnixMilli(1767222000123), Attempt: 1, AckID: "a"}
		if fmt.Sprint(events) != fmt.Sprint([]Event{want}) {
			t.Errorf("got %v, want %v", events, want)
		}
		// While the service is told, more comes: the handler gets it together.
		settled := p.settles([]string{"a"})
		p.event("b", `2`, 1)
		p.event("c", `3`, 2)
		p.event("d", `4`, 50)
		p.refuse(settled, protocol.BackendError)
		p.acks(p.settles([]string{"a"})) // again
		g.wants(t, errors.New("the disk is full"), "b", "c")
		g.wants(t, errors.New("the disk is full"), "d")
		p.acks(p.settles(nil, protocol.GroupNack{AckID: "b", DelayMs: 1000}, protocol.GroupNack{AckID: "c", DelayMs: 2000}, protocol.GroupNack{AckID: "d", DelayMs: 300_000}))

		// When it leaves, it gives back what it did not come to.
		p.event("e", `5`, 1)
		<-g.got
		p.event("f", `6`, 2)
		synctest.Wait()
		cancel()
		g.answers <- nil
		p.acks(p.settles([]string{"e"}))
		leaves, text := p.request()
		if leaves.Type != protocol.TypeUnsubscribe || leaves.Group != "ingest" {
			t.Errorf("the client sent %s, want that it leaves the group", text)
		}
		p.event("g", `7`, 1)
		p.acks(leaves)
		p.acks(p.settles(nil, protocol.GroupNack{AckID: "f"}, protocol.GroupNack{AckID: "g"}))
		wantErr(t, <-g.over, context.Canceled)
	})
}

// A handler that always fails on one event does not take those along that came with it: events
// that come for the third time are handled alone.
func TestGroupHandlesEventsAloneThatFailedTwice(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		g := f.inGroup(t.Context(), c)
		p.joins(100)
		p.event("first", `0`, 1)
		<-g.got
		for i, attempt := range []int{1, 2, 3, 3, 4, 1, 2} {
			p.event(fmt.Sprint(i), `1`, attempt)
		}
		synctest.Wait()
		g.answers <- nil
		p.acks(p.settles([]string{"first"}))
		g.wants(t, nil, "0", "1")
		g.wants(t, nil, "2")
		g.wants(t, errors.New("poison"), "3")
		g.wants(t, nil, "4")
		p.acks(p.settles([]string{"0", "1", "2", "4"}))
		p.acks(p.settles(nil, protocol.GroupNack{AckID: "3", DelayMs: 4000}))
		g.wants(t, nil, "5", "6")
		p.acks(p.settles([]string{"5", "6"}))
		p.event("7", `1`, 3)
		p.event("8", `1`, 4)
		<-g.got
		time.Sleep(2 * settleWithin) // the handler takes long: the service is told before the next
		g.answers <- nil
		p.acks(p.settles([]string{"7"}))
		g.wants(t, nil, "8")
		p.acks(p.settles([]string{"8"}))
	})
}

// On a new connection it takes part again; what came on the former comes once more, and is
// neither handled nor acknowledged from there.
func TestGroupOverConnections(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		g := f.inGroup(t.Context(), c, WithMaxInFlight(1000))
		p.joins(1000)
		p.event("a", `1`, 1)
		<-g.got
		p.event("b", `2`, 1)
		synctest.Wait()
		p.shut(protocol.CloseGoingAway)
		g.answers <- nil // of a, whose connection has ended

		p = f.welcome()
		p.joins(1000)
		p.event("a2", `1`, 2)
		g.wants(t, nil, "a2")
		p.acks(p.settles([]string{"a2"}))
		c.Close()
		wantErr(t, <-g.over, ErrClosed)
	})
}

// Hundreds of events are acknowledged in several frames, each of which the service takes.
func TestGroupSettlesMany(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		g := f.inGroup(t.Context(), c, WithMaxInFlight(1000))
		p.joins(1000)
		p.event("0", `0`, 1)
		<-g.got
		var ids []string
		for n := 1; n <= 900; n++ {
			ids = append(ids, fmt.Sprint(n))
			p.event(ids[n-1], `1`, 1)
		}
		synctest.Wait()
		g.answers <- nil
		p.acks(p.settles([]string{"0"}))
		g.wants(t, nil, ids...)
		for some := range slices.Chunk(ids, maxSettled) {
			p.acks(p.settles(some))
		}
	})
}

// The service refuses the group, at once or later: Group says so.
func TestGroupIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		g := f.inGroup(t.Context(), c)
		asked, _ := p.request()
		p.refuse(asked, protocol.GroupNotFound)
		wantCode(t, <-g.over, protocol.GroupNotFound)

		g = f.inGroup(t.Context(), c)
		p.joins(100)
		p.event("a", `1`, 1)
		<-g.got
		p.event("b", `2`, 1)
		p.say(string(protocol.AppendGroupError(nil, protocol.Errorf(protocol.ChannelNotAuthorized, "no more"), "ingest")))
		synctest.Wait()
		g.answers <- nil
		p.acks(p.settles([]string{"a"}))
		wantCode(t, <-g.over, protocol.ChannelNotAuthorized)
		if errs := f.errors(); len(errs) > 0 {
			t.Errorf("OnError was told, too: %v", errs)
		}
	})
}

func TestGroupArguments(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		handle := func(context.Context, []Event) error { return nil }
		if err := c.Group(t.Context(), "ingest", nil); err == nil {
			t.Error("a group without a handler")
		}
		for _, n := range []int{0, 1001} {
			if err := c.Group(t.Context(), "ingest", handle, WithMaxInFlight(n)); err == nil {
				t.Errorf("%d in flight", n)
			}
		}
		f.inGroup(t.Context(), c)
		p.joins(100)
		if err := c.Group(t.Context(), "ingest", handle); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("twice in one group: %v", err)
		}
		c.Close()
		wantErr(t, c.Group(t.Context(), "ingest", handle), ErrClosed)
	})
}
