package hub

import (
	"fmt"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
)

func TestBroadcastReachesWhoIsSubscribed(t *testing.T) {
	in := newInterest()
	h := New(in)
	exact, star, all, other, foreign := &subscriber{id: 1}, &subscriber{id: 2}, &subscriber{id: 3}, &subscriber{id: 4}, &subscriber{id: 5}
	must(t, h.Subscribe(exact, "app", "devices/1/events", Options{}, none))
	must(t, h.SubscribePattern(star, "app", mustCompile(t, "devices/*/events"), false, none))
	must(t, h.SubscribePattern(all, "app", mustCompile(t, "**"), false, none))
	must(t, h.Subscribe(other, "app", "devices/2/events", Options{}, none))
	must(t, h.Subscribe(foreign, "app2", "devices/1/events", Options{}, none))
	must(t, h.SubscribePattern(foreign, "app2", mustCompile(t, "**"), false, none))

	one, two, three := message("app", "devices/1/events", "1"), message("app", "devices/2/events", "2"), message("app", "fleets/1", "3")
	broadcast(h, deliveries(one, two, three, message("app3", "devices/1/events", "4")))
	for name, tt := range map[string]struct {
		s    *subscriber
		want string
	}{
		"by name": {exact, frames(one)}, "wildcard": {star, frames(one, two)}, "everything": {all, frames(one, two, three)},
		"another channel": {other, frames(two)}, "another app": {foreign, ""},
	} {
		if got := tt.s.taken(); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
		if want := map[bool]int{true: 1}[tt.want != ""]; tt.s.flushes != want {
			t.Errorf("%s: %d flushes of one batch, want %d", name, tt.s.flushes, want)
		}
	}
	if n := h.Delivered(); n != 7 {
		t.Errorf("%d delivered, want 7", n)
	}

	h.Unsubscribe(exact, "app", "devices/1/events")
	h.UnsubscribePattern(star, "app", mustCompile(t, "devices/*/events"))
	broadcast(h, deliveries(one))
	if exact.taken()+star.taken() != "" || all.taken() != frames(one) {
		t.Error("a message came to who has left, or not to who stayed")
	}
}

// Protocol §4.3: exact and wildcard subscriptions that both match deliver once.
func TestOverlapDeliversOnce(t *testing.T) {
	in := newInterest()
	h := New(in)
	s, last := &subscriber{id: 1}, &subscriber{id: 2}
	for _, p := range []string{"**", "devices/*", "devices/**", "*/1"} {
		must(t, h.SubscribePattern(s, "app", mustCompile(t, p), false, none))
	}
	must(t, h.Subscribe(s, "app", "devices/1", Options{}, none))
	must(t, h.Subscribe(last, "app", "devices/1", Options{}, none))
	a, b := message("app", "devices/1", "a"), message("app", "devices/1", "b")
	broadcast(h, deliveries(a, b))
	broadcast(h, deliveries(a))
	broadcast(h, deliveries(a, message("app", "devices/2", "c"), a))
	if got, want := s.taken(), frames(a, b, a, a, message("app", "devices/2", "c"), a); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if got, want := last.taken(), frames(a, b, a, a, a); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if n := h.Delivered(); n != 11 {
		t.Errorf("%d delivered, want 11", n)
	}
}

func withMetadata(m sent, metadata string) sent {
	m.FromMetadata = []byte(metadata)
	return m
}

// pkg/envelope makes the frame with metadata, as it knows where data begins; the
// node's own tests see a real one. Here the frame is one that it can take apart.
func TestMetadataGoesToWhoAskedForIt(t *testing.T) {
	in := newInterest()
	h := New(in)
	plain, wants, both, bothPatterns, changed := &subscriber{id: 1}, &subscriber{id: 2}, &subscriber{id: 3}, &subscriber{id: 4}, &subscriber{id: 5}
	must(t, h.Subscribe(plain, "app", "c", Options{}, none))
	must(t, h.Subscribe(wants, "app", "c", Options{Metadata: true}, none))
	must(t, h.Subscribe(both, "app", "c", Options{}, none)) // without by name, with by wildcard: with
	must(t, h.SubscribePattern(both, "app", mustCompile(t, "*"), true, none))
	must(t, h.SubscribePattern(bothPatterns, "app", mustCompile(t, "**"), false, none))
	must(t, h.SubscribePattern(bothPatterns, "app", mustCompile(t, "*"), true, none))
	must(t, h.Subscribe(changed, "app", "c", Options{Metadata: true}, none)) // takes the new option
	must(t, h.Subscribe(changed, "app", "c", Options{}, none))

	m := withMetadata(message("app", "c", "1"), `{"site":"north"}`)
	bare := message("app", "c", "2")
	batch := deliveries(m, bare, m)
	with := string(batch[0].FrameWithMetadata())
	if with == string(batch[0].Frame) || !strings.Contains(with, `"fromMetadata":{"site":"north"}`) {
		t.Fatalf("the test's own message has no metadata: %q", with)
	}
	broadcast(h, batch)
	for name, tt := range map[string]struct {
		s    *subscriber
		want string
	}{
		"asked for none": {plain, frames(m, bare, m)}, "asked for it": {wants, with + frames(bare) + with},
		"asked by wildcard": {both, with + frames(bare) + with}, "asked by one of two wildcards": {bothPatterns, with + frames(bare) + with},
		"asked for none in the end": {changed, frames(m, bare, m)},
	} {
		if got := tt.s.taken(); got != tt.want {
			t.Errorf("%s: got  %q\nwant %q", name, got, tt.want)
		}
	}
	if n := h.Delivered(); n != 15 {
		t.Errorf("%d delivered, want 15", n)
	}
}

// The publishing connection does not get its message; the same peer's other
// connections do, and a connection of another node with the same id does.
func TestSenderIsSkipped(t *testing.T) {
	in := newInterest()
	h := New(in)
	camera, second := &subscriber{id: 7}, &subscriber{id: 8}
	for _, s := range []*subscriber{camera, second} {
		must(t, h.Subscribe(s, "app", "c", Options{}, none))
		must(t, h.SubscribePattern(s, "app", mustCompile(t, "*"), true, none))
	}
	m := func(data string, by uint64) sent { return message("app", "c", data).from(by) }
	md := withMetadata(m("6", 7), `{"m":1}`)
	broadcast(h, deliveries(m("1", 7), m("2", 7), m("3", 8), m("4", 0), m("5", 7), md))
	if got, want := camera.taken(), frames(m("3", 0), m("4", 0)); got != want {
		t.Errorf("the sender got %q\nwant %q", got, want)
	}
	if got, want := second.taken(), frames(m("1", 0), m("2", 0), m("4", 0), m("5", 0))+string(md.FrameWithMetadata()); got != want {
		t.Errorf("the peer's other connection got %q\nwant %q", got, want)
	}
}

// Frames of one channel that follow each other are joined and queued as one;
// order and bytes are as if they had not been.
func TestJoinedRuns(t *testing.T) {
	in := newInterest()
	h := New(in)
	s, all := &subscriber{id: 1}, &subscriber{id: 2}
	must(t, h.Subscribe(s, "app", "a", Options{}, none))
	must(t, h.Subscribe(s, "app", "b", Options{}, none))
	must(t, h.SubscribePattern(all, "app", mustCompile(t, "*"), false, none))

	var batch []sent
	for i := range 100 {
		batch = append(batch, message("app", "a", fmt.Sprint("a", i)))
	}
	batch = append(batch, message("app", "b", "b"), message("app", "a", "a100"), message("other", "a", "x"), message("app", "a", "a101"))
	mine := append(append([]sent{}, batch[:102]...), batch[103])
	broadcast(h, deliveries(batch...))
	for _, s := range []*subscriber{s, all} {
		if s.appends != 4 {
			t.Errorf("%d frames were queued, want 4 joined ones", s.appends)
		}
		if s.taken() != frames(mine...) {
			t.Error("order or bytes have changed")
		}
	}
	if n := h.Delivered(); n != 2*103 {
		t.Errorf("%d delivered, want %d", n, 2*103)
	}
}

// A joined buffer is bounded: a connection that has begun to write it gets
// nothing else, not even its close frame, before its end.
func TestJoinedRunsAreBounded(t *testing.T) {
	in := newInterest()
	h := New(in)
	s := &subscriber{id: 1}
	must(t, h.Subscribe(s, "app", "a", Options{}, none))
	fill := strings.Repeat("x", 10_000)
	var batch []sent
	for i := range 50 {
		batch = append(batch, message("app", "a", fmt.Sprint(i, fill)))
	}
	batch = append(batch, message("app", "a", strings.Repeat("y", maxJoined+1)), message("app", "a", "z"))
	broadcast(h, deliveries(batch...))
	for i, f := range s.got {
		if len(f) > maxJoined && len(f) != len(batch[50].Frame) {
			t.Errorf("buffer %d has %d bytes", i, len(f))
		}
	}
	if s.taken() != frames(batch...) {
		t.Error("order or bytes have changed")
	}
}

// However large a batch is, a connection that reads gets the chance to: what
// waits for the end of the batch must not close it as a slow consumer.
func TestLargeBatchIsFlushedOnTheWay(t *testing.T) {
	in := newInterest()
	h := New(in)
	s, few := &subscriber{id: 1}, &subscriber{id: 2}
	must(t, h.SubscribePattern(s, "app", mustCompile(t, "*"), false, none))
	must(t, h.Subscribe(few, "app", "b", Options{}, none))
	var batch []sent
	for i := range 300 { // 3 MB
		batch = append(batch, message("app", []string{"a", "b"}[i/299], fmt.Sprint(i, strings.Repeat("x", 10_000))))
	}
	broadcast(h, deliveries(batch...))
	if bound := maxUnflushed + maxJoined + 10_100; s.most > bound || s.most >= protocol.UnsentBytesLimit/2 {
		t.Errorf("%d bytes waited for a flush, want at most %d", s.most, bound)
	}
	if s.taken() != frames(batch...) || few.taken() != frames(batch[299]) {
		t.Error("order or bytes have changed")
	}
	if few.flushes != 1 || s.unsent != 0 {
		t.Errorf("%d flushes for one message, and %d bytes left without one", few.flushes, s.unsent)
	}
}

// Everybody gets the same bytes, not a copy.
func TestFramesAreShared(t *testing.T) {
	in := newInterest()
	h := New(in)
	a, b := &subscriber{id: 1}, &subscriber{id: 2}
	must(t, h.Subscribe(a, "app", "c", Options{}, none))
	must(t, h.SubscribePattern(b, "app", mustCompile(t, "*"), false, none))
	m := message("app", "c", "1")
	for _, batch := range [][]sent{{m}, {m, m}} {
		broadcast(h, deliveries(batch...))
		if &a.got[0][0] != &b.got[0][0] {
			t.Errorf("%d messages were copied for each receiver", len(batch))
		}
		a.got, b.got = nil, nil
	}
}

// Who takes nothing (it is closing) is not counted as a delivery, nor flushed.
func TestRefusedFramesAreNotCounted(t *testing.T) {
	in := newInterest()
	h := New(in)
	closing, open := &subscriber{id: 1, refuses: true}, &subscriber{id: 2}
	must(t, h.Subscribe(closing, "app", "c", Options{}, none))
	must(t, h.Subscribe(open, "app", "c", Options{}, none))
	broadcast(h, deliveries(message("app", "c", "1"), message("app", "c", "2")))
	if n := h.Delivered(); n != 2 {
		t.Errorf("%d delivered, want 2", n)
	}
	if closing.flushes != 0 || open.flushes != 1 {
		t.Errorf("flushed %d and %d times, want 0 and 1", closing.flushes, open.flushes)
	}
	if len(h.underWay) > 0 {
		t.Error("a delivery that is finished is under way")
	}
	for i, s := range h.spare.dirty[:cap(h.spare.dirty)] {
		if s != nil {
			t.Errorf("the hub still holds connection %d of the last batch", i)
		}
	}
}

// idle is a subscriber that costs nothing.
type idle uint64

func (i idle) ID() uint64                         { return uint64(i) }
func (i idle) Append([]byte, uint64) (bool, bool) { return true, true }
func (i idle) Flush()                             {}
func (idle) Close(*protocol.CloseError) bool      { return true }

func audienceOf(t testing.TB, n int) (*Hub, []envelope.Delivery) {
	h := New(newInterest())
	for i := range n {
		must(t, h.Subscribe(idle(i+1), "app", "fleets/north/commands", Options{}, none))
	}
	must(t, h.SubscribePattern(idle(n+1), "app", mustCompile(t, "devices/*/events"), false, none))
	m := message("app", "fleets/north/commands", "reboot")
	return h, []envelope.Delivery{m.Delivery}
}

// One message to 1,000 connections takes nothing from the heap.
func TestBroadcastAllocates(t *testing.T) {
	h, batch := audienceOf(t, 1000)
	broadcast(h, batch)
	if n := testing.AllocsPerRun(100, func() { broadcast(h, batch) }); n > 0 {
		t.Errorf("a broadcast allocates %v times, want 0", n)
	}
	// A run of messages is joined: one buffer, however many receive it.
	run := make([]envelope.Delivery, 10)
	for i := range run {
		run[i] = batch[0]
	}
	if n := testing.AllocsPerRun(100, func() { broadcast(h, run) }); n > 6 {
		t.Errorf("a broadcast of 10 messages allocates %v times, want the joined buffer alone", n)
	}
}

func BenchmarkBroadcast(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, batch := audienceOf(b, n)
			b.ReportAllocs()
			for b.Loop() {
				broadcast(h, batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/delivery")
		})
	}
}
