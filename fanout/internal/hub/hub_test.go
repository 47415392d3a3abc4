package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
)

func TestInterestFollowsSubscribers(t *testing.T) {
	in := newInterest()
	h := New(in)
	a, b := &subscriber{id: 1}, &subscriber{id: 2}

	must(t, h.Subscribe(a, "app", "c", Options{}, none))
	must(t, h.Subscribe(b, "app", "c", Options{}, none))
	in.want(t, "app c = 1", "app c = 2")
	must(t, h.Subscribe(a, "app", "c", Options{Metadata: true}, none)) // again: no more than before, but asked, for done
	in.want(t, "app c = 2")
	h.Unsubscribe(a, "app", "c")
	h.Unsubscribe(a, "app", "c") // not there
	h.Unsubscribe(a, "app", "other")
	h.Unsubscribe(b, "other", "c")
	in.want(t, "app c = 1 quietly")
	h.Unsubscribe(b, "app", "c")
	in.want(t, "app c = 0 quietly")
	must(t, h.Subscribe(b, "app", "c", Options{}, none))
	in.want(t, "app c = 1")
	h.Unsubscribe(b, "app", "c")
	if len(h.names) != 0 {
		t.Errorf("%d channels are kept without subscribers", len(h.names))
	}
}

// A connection that subscribes again may do so as another Subscriber.
func TestSubscribeAgainAsAnother(t *testing.T) {
	h := New(newInterest())
	first, second := &subscriber{id: 1}, &subscriber{id: 1}
	must(t, h.Subscribe(first, "app", "c", Options{}, none))
	must(t, h.Subscribe(second, "app", "c", Options{}, none))
	m := message("app", "c", "1")
	broadcast(h, deliveries(m))
	if got := first.taken() + "|" + second.taken(); got != "|"+frames(m) {
		t.Errorf("first|second got %q, want the second alone to get the message", got)
	}
	h.Unsubscribe(first, "app", "c")
	if len(h.names) != 0 {
		t.Error("the connection is subscribed still")
	}
}

func TestInterestFollowsPatterns(t *testing.T) {
	in := newInterest()
	h := New(in)
	a, b := &subscriber{id: 1}, &subscriber{id: 2}
	devices, fleets := mustCompile(t, "devices/*"), mustCompile(t, "fleets/*")

	must(t, h.SubscribePattern(a, "app", devices, false, none))
	must(t, h.SubscribePattern(b, "app", mustCompile(t, "devices/*"), false, none))
	must(t, h.SubscribePattern(a, "app", fleets, false, none))
	must(t, h.SubscribePattern(a, "other", fleets, false, none))
	in.want(t, "app +devices/*", "app +devices/*", "app +fleets/*", "other +fleets/*")

	// Again: it counts once, but done has to wait until the first is live.
	must(t, h.SubscribePattern(a, "app", devices, true, none))
	in.want(t, "app +devices/*", "app -devices/* quietly")

	h.UnsubscribePattern(a, "app", devices)
	h.UnsubscribePattern(a, "app", devices) // not there
	h.UnsubscribePattern(b, "app", fleets)
	h.UnsubscribePattern(b, "none", fleets)
	in.want(t, "app -devices/* quietly")
	h.UnsubscribePattern(b, "app", devices)
	h.UnsubscribePattern(a, "app", fleets)
	h.UnsubscribePattern(a, "other", fleets)
	in.want(t, "app -devices/* quietly", "app -fleets/* quietly", "other -fleets/* quietly")
	if len(h.patterns) != 0 {
		t.Errorf("patterns of %d apps are kept without subscribers", len(h.patterns))
	}
}

// done is the receiver's to call: the hub never promises what is not live.
func TestDoneIsTheReceivers(t *testing.T) {
	h := New(newInterest())
	a := &subscriber{id: 1}
	called := func(error) { t.Error("done was called by the hub") }
	for range 2 {
		must(t, h.Subscribe(a, "app", "c", Options{}, called))
		must(t, h.SubscribePattern(a, "app", mustCompile(t, "d/*"), false, called))
	}
}

func TestRefusedByTheReceiver(t *testing.T) {
	in := newInterest()
	h := New(in)
	a, b := &subscriber{id: 1}, &subscriber{id: 2}
	p := mustCompile(t, "d/*")
	must(t, h.Subscribe(a, "app", "c", Options{}, none))
	must(t, h.SubscribePattern(a, "app", p, false, none))

	in.err = errDown
	for _, s := range []*subscriber{a, b} { // a is subscribed: its option stays as it was
		if err := h.Subscribe(s, "app", "c", Options{Metadata: true}, none); !errors.Is(err, errDown) {
			t.Errorf("error %v", err)
		}
		if err := h.Subscribe(s, "app", "new", Options{Metadata: true}, none); !errors.Is(err, errDown) {
			t.Errorf("error %v", err)
		}
		if err := h.SubscribePattern(s, "app", p, true, none); !errors.Is(err, errDown) {
			t.Errorf("error %v", err)
		}
		if err := h.SubscribePattern(s, "app", mustCompile(t, "new/*"), true, none); !errors.Is(err, errDown) {
			t.Errorf("error %v", err)
		}
	}
	if len(h.names) != 1 || len(h.patternsOf("app")) != 1 {
		t.Errorf("%d channels and %d patterns, want what there was", len(h.names), len(h.patternsOf("app")))
	}
	m := message("app", "c", "1")
	m.FromMetadata = []byte(`{"m":1}`)
	d := message("app", "d/1", "1")
	d.FromMetadata = m.FromMetadata
	broadcast(h, deliveries(m, d, message("app", "new", "1"), message("app", "new/1", "1")))
	if got := a.taken(); got != frames(m, d) {
		t.Errorf("the old subscriber got %q, want the messages without metadata", got)
	}
	if got := b.taken(); got != "" {
		t.Errorf("the refused subscriber got %q", got)
	}

	// Leaving works without the receiver.
	h.Unsubscribe(a, "app", "c")
	h.UnsubscribePattern(a, "app", p)
	if len(h.names)+len(h.patterns) != 0 {
		t.Error("a subscriber could not leave")
	}
}

// counting is a subscriber that many goroutines may use.
type counting struct {
	id       uint64
	mu       sync.Mutex
	sequence uint64
	got      atomic.Int64
}

func (c *counting) ID() uint64                    { return c.id }
func (c *counting) Flush()                        {}
func (*counting) Close(*protocol.CloseError) bool { return true }
func (c *counting) Append(_ []byte, sequence uint64) (bool, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sequence <= c.sequence {
		return false, false
	}
	c.sequence = sequence
	c.got.Add(1)
	return true, true
}

// Everything at the same time: run with -race. At the end the receiver has been
// told the truth.
func TestSubscribeAndBroadcastAtTheSameTime(t *testing.T) {
	const workers, rounds = 4, 500
	in := newInterest()
	h := New(in)
	stay := &counting{id: 1000}
	must(t, h.Subscribe(stay, "app", "c0", Options{}, none))
	must(t, h.SubscribePattern(stay, "app", mustCompile(t, "c*"), false, none))

	patterns := []string{"c*", "**", "c?", "x/*"}
	var working sync.WaitGroup
	for w := range workers {
		working.Add(1)
		go func() {
			defer working.Done()
			random := rand.New(rand.NewPCG(uint64(w), 7))
			s := &counting{id: uint64(w + 1)}
			for range rounds {
				name, pattern := fmt.Sprint("c", random.IntN(3)), mustCompile(t, patterns[random.IntN(len(patterns))])
				switch random.IntN(4) {
				case 0:
					_ = h.Subscribe(s, "app", name, Options{Metadata: random.IntN(2) == 0}, none)
				case 1:
					_ = h.SubscribePattern(s, "app", pattern, random.IntN(2) == 0, none)
				case 2:
					h.Unsubscribe(s, "app", name)
				case 3:
					h.UnsubscribePattern(s, "app", pattern)
				}
			}
			for i := range 3 {
				h.Unsubscribe(s, "app", fmt.Sprint("c", i))
			}
			for _, p := range patterns {
				h.UnsubscribePattern(s, "app", mustCompile(t, p))
			}
		}()
	}
	done := make(chan struct{})
	go func() { working.Wait(); close(done) }()
	sent := int64(0)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		broadcast(h, []envelope.Delivery{message("app", "c0", "1").Delivery, message("app", "c1", "1").Delivery})
		sent += 2
	}
	if got := stay.got.Load(); got != sent {
		t.Errorf("who was subscribed all along got %d of %d messages", got, sent)
	}
	if len(h.names) != 1 || len(h.patternsOf("app")) != 1 {
		t.Errorf("%d channels and %d patterns are left, want one each", len(h.names), len(h.patternsOf("app")))
	}
	for name, n := range in.subscribers {
		if want := map[bool]int{true: 1}[name == "app c0"]; n != want {
			t.Errorf("the receiver believes that %s has %d subscribers, want %d", name, n, want)
		}
	}
	for name, n := range in.patterns {
		if want := map[bool]int{true: 1}[name == "app c*"]; n != want {
			t.Errorf("the receiver believes that %s has %d subscribers, want %d", name, n, want)
		}
	}
}

// blocked is a subscriber whose Flush waits.
type blocked struct {
	counting
	flushing, release chan struct{}
}

func (b *blocked) Append(frame []byte, sequence uint64) (bool, bool) {
	return b.counting.Append(frame, sequence)
}
func (b *blocked) Flush()                        { close(b.flushing); <-b.release }
func (*blocked) Close(*protocol.CloseError) bool { return true }

// Writing to sockets happens outside the lock: subscribing goes on meanwhile.
func TestFlushHoldsNoLock(t *testing.T) {
	h := New(newInterest())
	b := &blocked{counting: counting{id: 1}, flushing: make(chan struct{}), release: make(chan struct{})}
	must(t, h.Subscribe(b, "app", "c", Options{}, none))
	done := make(chan struct{})
	go func() {
		defer close(done)
		broadcast(h, []envelope.Delivery{message("app", "c", "1").Delivery})
	}()
	<-b.flushing
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		_ = h.Subscribe(&counting{id: 2}, "app", "c", Options{}, none)
		h.Unsubscribe(b, "app", "c")
	}()
	select {
	case <-changed:
	case <-time.After(20 * time.Second):
		t.Error("subscribing waits for a socket")
	}
	close(b.release)
	<-done
	<-changed
}
