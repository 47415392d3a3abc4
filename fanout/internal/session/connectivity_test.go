package session

import (
	"slices"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// A subscribe to a peer's connectivity by name asks for the state, behind its ack; a
// wildcard asks for none, and neither lists the peer or shows it who else is there.
func TestStatesAreAskedFor(t *testing.T) {
	w := newWorld(t)
	key := *w.key
	for _, text := range []string{"_system/connectivity/**"} {
		p, err := channel.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		key.Patterns = append(slices.Clone(key.Patterns), p)
	}
	p := w.connect(&auth.Grant{App: key.App, Key: &key, Peer: "watcher", Actions: apps.AllActions})
	asked := func(want ...string) {
		t.Helper()
		w.mu.Lock()
		defer w.mu.Unlock()
		if !slices.Equal(p.states, want) {
			t.Errorf("asked for the states of %q, want %q", p.states, want)
		}
		p.states = nil
	}
	p.subscribe("_system/connectivity/a%2Fb", "_system/connectivity/*", "devices/a")
	p.Want(alive)
	asked("a/b")
	p.subscribe("_system/connectivity/a%2Fb", "_system/connectivity/%zz")
	p.Want(alive)
	asked("a/b")
	p.session.Restored()
	asked("a/b")
	if n := w.interest.subscribersOf("_system/connectivity/a%2Fb"); n != 1 {
		t.Errorf("%d subscribers", n)
	}
}
