package hub

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fleetwire/pkg/envelope"
)

// crowd is n subscribers of the app's channel "c".
func crowd(t *testing.T, h *Hub, app string, n int) []*subscriber {
	t.Helper()
	all := make([]*subscriber, n)
	for i := range all {
		all[i] = &subscriber{id: uint64(i + 1)}
		must(t, h.SubscribePattern(all[i], app, mustCompile(t, "*"), false, none))
	}
	return all
}

// work is what was done for a crowd so far.
func work(crowd []*subscriber) (appends, flushes int) {
	for _, s := range crowd {
		appends += s.appends
		flushes += s.flushes
	}
	return appends, flushes
}

// One call does a part of the work, whatever the batch asks for: another app's
// message has to wait for no more.
func TestOneCallIsBounded(t *testing.T) {
	few, many := []sent{message("app", "c", "1")}, []sent(nil)
	for i := range 30 {
		many = append(many, message("app", fmt.Sprint("c", i), "1"))
	}
	for _, tt := range []struct {
		name    string
		size    int
		batch   []sent
		flushes int // a call
	}{
		{"one message to many", 1000, few, maxFlushed},
		{"many messages to many", 400, many, maxFlushed},
		{"large messages to many", 50, []sent{message("app", "c", strings.Repeat("x", 100_000))}, 2},
		{"very large messages to many", 20, []sent{message("app", "c", strings.Repeat("x", maxUnflushed+1))}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newInterest()
			h := New(in)
			busy := crowd(t, h, "app", tt.size)
			quiet := crowd(t, h, "quiet", 1)
			batch := deliveries(tt.batch...)
			beside := []envelope.Delivery{message("quiet", "c", "1").Delivery}

			calls, finished := 0, 0
			for ; finished < len(batch); calls++ {
				appends, flushes := work(busy)
				finished += h.Broadcast(batch[finished:])
				appendsNow, flushesNow := work(busy)
				if n := appendsNow - appends; n > maxQueued+tt.size {
					t.Fatalf("call %d queued %d frames", calls, n)
				}
				if n := flushesNow - flushes; n > tt.flushes {
					t.Fatalf("call %d flushed %d connections, want at most %d", calls, n, tt.flushes)
				}
				if calls > 1000 {
					t.Fatal("Broadcast does not finish")
				}
				if h.Broadcast(beside) != 1 || quiet[0].flushes != calls+1 {
					t.Fatalf("behind call %d, another app's message was not delivered at once", calls)
				}
			}
			if least := tt.size / tt.flushes; calls < least {
				t.Errorf("%d calls, want at least %d", calls, least)
			}
			for _, s := range busy {
				if got := s.taken(); got != frames(tt.batch...) || s.flushes != 1 {
					t.Fatalf("connection %d got %d bytes and %d flushes, want %d and one", s.id, len(got), s.flushes, len(frames(tt.batch...)))
				}
			}
		})
	}
}

// Messages with the same receivers are still one buffer and one write for each, and a
// batch that asks for little is finished at once.
func TestSmallBatchIsOneCall(t *testing.T) {
	in := newInterest()
	h := New(in)
	all := crowd(t, h, "app", maxFlushed)
	var messages []sent
	for range 100 {
		messages = append(messages, message("app", "c", "1"))
	}
	if n := h.Broadcast(deliveries(messages...)); n != len(messages) {
		t.Errorf("%d messages finished by one call, want %d", n, len(messages))
	}
	if appends, flushes := work(all); appends != len(all) || flushes != len(all) {
		t.Errorf("%d frames and %d flushes for %d connections, want one each", appends, flushes, len(all))
	}
}

// A connection that comes or goes while a delivery is under way changes nothing for
// the others; one that goes is flushed, for what it was given.
func TestSubscribersChangeUnderWay(t *testing.T) {
	in := newInterest()
	h := New(in)
	all := crowd(t, h, "app", 3*maxFlushed)
	one := message("app", "c", "1")
	batch := deliveries(one)
	if h.Broadcast(batch) != 0 {
		t.Fatal("the first call finished everything")
	}
	last, late := all[len(all)-1], &subscriber{id: 1000}
	h.UnsubscribePattern(last, "app", mustCompile(t, "*"))
	must(t, h.SubscribePattern(late, "app", mustCompile(t, "*"), false, none))
	broadcast(h, batch)
	for _, s := range all {
		if s.taken() != frames(one) || s.unsent != 0 {
			t.Errorf("connection %d did not get the message", s.id)
		}
	}
	if late.taken() != "" {
		t.Error("a connection got what was delivered before it came")
	}
}

// Precede is told of each direct message, before anybody gets it. The hub leaves
// announcements, and what is behind them, for later.
func TestOrderOfKinds(t *testing.T) {
	in := newInterest()
	h := New(in)
	s := &subscriber{id: 1}
	must(t, h.Subscribe(s, "app", "p", Options{}, none))
	must(t, h.AddPeer(s, "app", "p", none))
	var preceded []string
	h.Precede(func(batch []envelope.Delivery) {
		for _, d := range batch {
			preceded = append(preceded, fmt.Sprintf("%s behind %d", d.Channel, s.appends))
		}
	})
	announcement := sent{Delivery: envelope.Delivery{Kind: envelope.KindPresence, App: "app", Channel: "p", Frame: []byte("{}")}}
	batch := deliveries(message("app", "p", "1"), direct("app", "p", "2"), direct("app", "p", "3"), message("app", "p", "4"), direct("app", "q", "5"), announcement, message("app", "p", "6"))
	if n := h.Broadcast(batch); n != 5 {
		t.Errorf("%d messages finished, want those before the announcement", n)
	}
	if want := []string{"p behind 1", "p behind 1", "q behind 3"}; !slices.Equal(preceded, want) {
		t.Errorf("preceded %q, want %q", preceded, want)
	}
	if got, want := s.taken(), frames(message("app", "p", "1"), direct("app", "p", "2"), direct("app", "p", "3"), message("app", "p", "4")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
