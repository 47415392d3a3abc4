package receivertest

import (
	"slices"
	"testing"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
)

// direct sends to the peer and says whether it is connected anywhere.
func direct(t *testing.T, b *send.Sender, app, peer, data string) bool {
	t.Helper()
	o := b.Prepare(&envelope.Message{App: app, To: peer, From: "sender", FromMetadata: []byte(`{"m":1}`), Data: []byte(data)})
	sendTo(t, b, unlimited(app), o)
	if !o.Accepted {
		t.Fatal("a direct message without cap was not accepted")
	}
	return o.Found
}

func testDirect(t *testing.T, s *system) {
	one, two, from := s.node(), s.node(), s.publisher()
	one.connect("app", "a", 1)
	two.connect("app", "a", 2)
	two.connect("app", "b", 1)
	one.connect("app2", "c", 1)
	one.subscribe("app", "d", 1) // a channel is no peer

	for peer, want := range map[string]bool{"a": true, "b": true, "c": false, "d": false, "nobody": false, "*": false, "": false} {
		if peer == "" {
			continue // a message without To is one to a channel
		}
		if got := direct(t, from, "app", peer, `"to `+peer+`"`); got != want {
			t.Errorf("%q was found: %v, want %v", peer, got, want)
		}
	}
	for n, want := range map[*node][]string{one: {"a"}, two: {"a", "b"}} {
		var got []string
		for _, d := range n.settle(from) {
			frame := `{"type":"direct","from":"sender","data":"to ` + d.Channel + `"}`
			metadata := `{"type":"direct","from":"sender","fromMetadata":{"m":1},"data":"to ` + d.Channel + `"}`
			if d.Kind != envelope.KindPeer || d.App != "app" || body(t, d.Frame) != frame || body(t, d.FrameWithMetadata()) != metadata {
				t.Errorf("got %q of kind %d for %q of %q", d.Frame, d.Kind, d.Channel, d.App)
			}
			got = append(got, d.Channel)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("a node got messages for %q, want %q", got, want)
		}
	}

	two.connect("app", "b", 0)
	one.connect("app", "a", 0)
	if direct(t, from, "app", "b", "1") || !direct(t, from, "app", "a", "1") {
		t.Error("b has left and a has not, but a send finds it otherwise")
	}
}

func testAnnouncements(t *testing.T, s *system) {
	byName, byPattern, other, from := s.node(), s.node(), s.node(), s.publisher()
	byName.want(envelope.KindPresence, "app", "c", true)
	byName.confirm(func(done func(error)) error { return byName.SetWatchers("app", "c", 1, done) })
	// Two subscriptions in one announcement: it comes once.
	for _, pattern := range []string{"*", "**"} {
		p := byPattern.wantPattern(envelope.KindPresence, "app", pattern)
		byPattern.confirm(func(done func(error)) error { return byPattern.AddWatchPattern("app", p, done) })
	}
	other.subscribe("app", "c", 1)
	other.connect("app", "c", 1)

	s.announce("app", "c", "1")
	s.announce("app", "c", "2")
	s.announce("app", "d", "2")
	s.announce("app2", "c", "3")
	publish(t, from, "app", "c", `"a message is no announcement"`)
	for n, want := range map[*node][]string{byName: {"c 1", "c 2"}, byPattern: {"c 1", "c 2", "d 2"}, other: nil} {
		var got []string
		for _, d := range n.settle(from) {
			if d.Kind == envelope.KindPresence {
				got = append(got, d.Channel+" "+string(d.Frame))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("a node got the announcements %q, want %q", got, want)
		}
	}

	p := byPattern.wantPattern(envelope.KindPresence, "app", "*")
	byPattern.RemoveWatchPattern("app", p)
	byName.confirm(func(done func(error)) error { return byName.SetWatchers("app", "c", 0, done) })
	byName.want(envelope.KindPresence, "app", "c", false)
	s.announce("app", "c", "4")
	if got := byName.settle(from); len(got) != 2 {
		t.Errorf("%d announcements after the last watcher has gone, want the 2 of before", len(got))
	}
}
