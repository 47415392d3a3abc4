package watchers

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"fleetwire/pkg/presence"
)

// benched is a world whose windows close, and whose channels are loaded, when the
// benchmark says so.
func benched(b *testing.B) *world {
	b.Helper()
	w := &world{t: b, channels: map[presence.ChannelID]*state{}, wanted: map[string]int{}, down: true}
	w.watchers = New(Options{Interest: w, Log: slog.New(slog.DiscardHandler)})
	return w
}

// watched is a channel that one connection watches.
func (w *world) watched(name string, members ...presence.Member) *view {
	ws := w.watchers
	ws.Watch(&counter{}, app, name)
	v := ws.views[presence.ChannelID{App: app, Channel: name}]
	v.heard = true
	w.loaded(v, members)
	ws.Ready(&counter{}, app, name, presence.Version{})
	w.closeNow(v)
	return v
}

// loaded has Redis answer what is in the channel.
func (w *world) loaded(v *view, members []presence.Member) {
	v.requested = true
	w.watchers.replace(loadRequest{v, v.round}, &presence.State{Version: presence.Version{Incarnation: 1, Number: 1}, Members: members})
}

func (w *world) closeNow(v *view) {
	w.watchers.mu.Lock()
	defer w.watchers.mu.Unlock()
	w.watchers.close(v)
	w.watchers.now, w.watchers.due, w.watchers.dirty = nil, nil, nil
}

// All metadata in a channel of 10,000 changes, and one connection watches it.
func BenchmarkLargeChannel(b *testing.B) {
	w := benched(b)
	members := make([]presence.Member, 10_000)
	change := func(n int) {
		for i := range members {
			members[i] = presence.Member{Peer: fmt.Sprintf("p%05d", i), Metadata: fmt.Sprintf(`{"n":%d,"m":"%s"}`, n, strings.Repeat("x", 100))}
		}
	}
	change(0)
	v := w.watched("c", members...)
	for n := 1; b.Loop(); n++ {
		b.StopTimer()
		change(n)
		b.StartTimer()
		w.loaded(v, members)
		w.closeNow(v)
	}
}

// HOSTILE: a window is open in each of 10,000 channels while direct messages come. Each
// costs the goroutine that delivers to all.
func BenchmarkPrecedeWithManyWindows(b *testing.B) {
	w := benched(b)
	for i := range 10_000 {
		name := fmt.Sprint("c", i)
		w.watched(name)
		w.announce(name, presence.Version{Incarnation: 1, Number: 2}, fmt.Sprintf("+p%d\t", i))
	}
	if n := w.watchers.countJoining(); n != 10_000 {
		b.Fatalf("%d windows are open", n)
	}
	message := direct("me", "1")
	for b.Loop() {
		w.watchers.Precede(message)
	}
}
