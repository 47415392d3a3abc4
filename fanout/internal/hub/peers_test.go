package hub

import (
	"slices"
	"testing"

	"fleetwire/clients/go/protocol"
)

func TestInterestFollowsPeers(t *testing.T) {
	in := newInterest()
	h := New(in)
	a, b := &subscriber{id: 1}, &subscriber{id: 2}
	must(t, h.AddPeer(a, "app", "p", none))
	must(t, h.AddPeer(b, "app", "p", none))
	must(t, h.Subscribe(b, "app", "p", Options{}, none)) // a channel of that name is something else
	in.want(t, "app peer p = 1", "app peer p = 2", "app p = 1")
	h.RemovePeer(a, "app", "p")
	h.RemovePeer(a, "app", "p") // not there
	h.RemovePeer(b, "other", "p")
	h.RemovePeer(b, "app", "p")
	in.want(t, "app peer p = 1 quietly", "app peer p = 0 quietly")
	h.Unsubscribe(b, "app", "p")
	if len(h.names) != 0 {
		t.Errorf("%d names are kept without members", len(h.names))
	}
	in.err = errDown
	if err := h.AddPeer(a, "app", "p", none); err != errDown || len(h.names) != 0 {
		t.Errorf("error %v, %d names, want the receiver's error and none", err, len(h.names))
	}
}

func TestDirectReachesThePeersConnections(t *testing.T) {
	in := newInterest()
	h := New(in)
	one, two, other, foreign := &subscriber{id: 1}, &subscriber{id: 2}, &subscriber{id: 3}, &subscriber{id: 4}
	must(t, h.AddPeer(one, "app", "p", none))
	must(t, h.AddPeer(two, "app", "p", none))
	must(t, h.AddPeer(other, "app", "q", none))
	must(t, h.AddPeer(foreign, "app2", "p", none))
	must(t, h.Subscribe(other, "app", "p", Options{}, none))
	must(t, h.SubscribePattern(other, "app", mustCompile(t, "**"), false, none))

	// Sent by one of its own connections as well: all get it (protocol §4.2).
	first, second := direct("app", "p", "1"), direct("app", "p", "2")
	onChannel := message("app", "p", "3")
	broadcast(h, deliveries(first.from(1), second.from(2), onChannel, direct("app", "nobody", "4")))
	for name, tt := range map[string]struct {
		s    *subscriber
		want string
	}{
		"one":     {one, frames(first, second)},
		"two":     {two, frames(first, second)},
		"other":   {other, frames(onChannel)},
		"foreign": {foreign, ""},
	} {
		if got := tt.s.taken(); got != tt.want {
			t.Errorf("%s got %q, want %q", name, got, tt.want)
		}
	}
}

// The sender's metadata rides along with every direct message (protocol §4.3).
func TestDirectHasMetadata(t *testing.T) {
	in := newInterest()
	h := New(in)
	s := &subscriber{id: 1}
	must(t, h.AddPeer(s, "app", "p", none))
	bare, rich := direct("app", "p", "1"), direct("app", "p", "2")
	rich.FromMetadata = []byte(`{"v":2}`)
	broadcast(h, deliveries(bare, rich))
	body := protocol.AppendDirect(nil, "sender", rich.FromMetadata, []byte(`"2"`))
	// dataLen, which only pkg/envelope knows, is 0 here: the metadata comes before the
	// end of the frame rather than before data.
	if got, least := len(s.taken()), len(bare.Frame)+len(body); got < least {
		t.Errorf("%d bytes, want the bare frame and the one with metadata, %d", got, least)
	}
}

func TestDisconnectClosesThePeersConnections(t *testing.T) {
	in := newInterest()
	h := New(in)
	one, two, closing, other := &subscriber{id: 1}, &subscriber{id: 2}, &subscriber{id: 3, refuses: true}, &subscriber{id: 4}
	for _, s := range []*subscriber{one, two, closing} {
		must(t, h.AddPeer(s, "app", "p", none))
	}
	must(t, h.AddPeer(other, "app", "q", none))
	one.onClose = func() { h.RemovePeer(one, "app", "p") } // must not deadlock

	before, after := direct("app", "p", "before"), direct("app", "p", "after")
	broadcast(h, deliveries(before))
	closed := []int{h.Disconnect("app", "p")}
	broadcast(h, deliveries(after))
	closed = append(closed, h.Disconnect("app", "p"), h.Disconnect("app", "nobody"), h.Disconnect("app2", "q"))
	if want := []int{2, 0, 0, 0}; !slices.Equal(closed, want) {
		t.Errorf("%v connections closed, want %v", closed, want)
	}
	if got := one.taken(); got != frames(before) || one.flushes == 0 {
		t.Errorf("one got %q before it was closed, flushed %d times, want what was sent before", got, one.flushes)
	}
	for _, s := range []*subscriber{one, two} {
		if s.closed[0] != protocol.CloseDisconnected {
			t.Errorf("closed with %d, want 4020", s.closed[0])
		}
	}
	if other.closed != nil {
		t.Error("another peer was closed")
	}
}
