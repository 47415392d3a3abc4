package hub

import (
	"fmt"
	"slices"
	"testing"

	"fleetwire/clients/go/protocol"
)

// follower keeps where the messages are that it is given.
type follower struct {
	subscriber
	at []string
}

func (f *follower) AppendAt(frame []byte, sequence uint64, at protocol.Position) (queued, flush bool) {
	f.at = append(f.at, fmt.Sprintf("%s%d %v", at.Epoch, at.Offset, frame != nil))
	if frame == nil {
		return false, false
	}
	return f.Append(frame, sequence)
}

// at remembers a message.
func (m sent) at(offset uint64) sent {
	m.Position = protocol.Position{Epoch: "E", Offset: offset}
	return m
}

// Remembered messages are not joined: followers get each with its position, their own ones
// without a frame. Others by name, and wildcards, get them as any message, once.
func TestFollowers(t *testing.T) {
	h := New(newInterest())
	f, plain, wildcard := &follower{subscriber: subscriber{id: 1}}, &subscriber{id: 2}, &subscriber{id: 3}
	must(t, h.Subscribe(f, "app", "c", Options{}, none))
	must(t, h.Subscribe(plain, "app", "c", Options{}, none))
	must(t, h.SubscribePattern(wildcard, "app", mustCompile(t, "*"), false, none))
	must(t, h.SubscribePattern(plain, "app", mustCompile(t, "*"), false, none))
	batch := []sent{
		message("app", "c", "1").at(1), message("app", "c", "2").at(2), message("app", "c", "3").at(3).from(1),
		message("app", "c", "4").at(4).from(3), message("app", "c", "5"), message("app", "c", "6"),
	}
	broadcast(h, deliveries(batch...))
	if want := []string{"E1 true", "E2 true", "E3 false", "E4 true"}; !slices.Equal(f.at, want) {
		t.Errorf("the follower was told %q, want %q", f.at, want)
	}
	if got, want := f.taken(), frames(batch[0], batch[1], batch[3], batch[4], batch[5]); got != want {
		t.Errorf("the follower got %q\nwant %q", got, want)
	}
	if got, want := plain.taken(), frames(batch...); got != want {
		t.Errorf("the other got %q\nwant %q", got, want)
	}
	if got, want := wildcard.taken(), frames(batch[0], batch[1], batch[2], batch[4], batch[5]); got != want {
		t.Errorf("the wildcard got %q\nwant %q", got, want)
	}
	if got := h.Delivered(); got != 5+6+5 {
		t.Errorf("%d are counted", got)
	}
}

// A follower whose connection has a wildcard that asks for metadata is given the message
// first: it knows whether the connection had it before.
func TestFollowersComeBeforeWildcards(t *testing.T) {
	h := New(newInterest())
	f := &follower{subscriber: subscriber{id: 1}}
	must(t, h.Subscribe(f, "app", "c", Options{}, none))
	must(t, h.SubscribePattern(&f.subscriber, "app", mustCompile(t, "*"), true, none))
	m := message("app", "c", "1").at(1)
	m.FromMetadata = []byte(`{}`)
	broadcast(h, deliveries(m))
	if len(f.at) != 1 || f.appends != 1 {
		t.Errorf("told %q, given %d", f.at, f.appends)
	}
}
