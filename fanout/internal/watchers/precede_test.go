package watchers

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
)

// direct is a direct message from a peer, as the receiver hands it on.
func direct(from, data string) []envelope.Delivery {
	frame := protocol.AppendTextFrame(nil, protocol.AppendDirect(nil, from, nil, []byte(data)))
	return []envelope.Delivery{{Kind: envelope.KindPeer, App: app, Channel: "to", Frame: frame}}
}

func (ws *Watchers) countJoining() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.joining)
}

// clear forgets what the watcher was shown.
func (o *watcher) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = nil
}

// In a small channel a newcomer has its snapshot, and those who are there hear of
// it, without any time passing; in a large one they wait for the window.
func TestNewcomerToASmallChannel(t *testing.T) {
	for _, tt := range []struct {
		name   string
		there  int
		atOnce bool
	}{
		{"small", few - 2, true},
		{"large", few, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.do("c", fleet(tt.there)...)
				old, o := w.watcher(1), w.watcher(2)
				w.enter(old, "c", "old")
				pass()
				pass()
				old.clear()
				w.enter(o, "c", "o")
				synctest.Wait()
				if tt.atOnce {
					old.want("c: +o")
				} else {
					old.want()
					o.want()
					pass()
				}
				w.wantTruth(o, "c")
			})
		})
	}
}

// Those on this node do not hear of a newcomer before it has its snapshot, however
// long its ack takes within the window.
func TestNobodyHearsOfWhoIsNotReady(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		old, o := w.watcher(1), w.watcher(2)
		w.enter(old, "c", "old")
		pass()
		old.clear()
		w.watchers.Watch(o, app, "c")
		v := w.do("c", "+o")
		synctest.Wait()
		old.want()
		w.watchers.Ready(o, app, "c", v)
		synctest.Wait()
		old.want("c: +o")
		o.want("c: +o +old")
	})
}

// Whoever hears from a newcomer on another node has been shown it.
func TestPrecede(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o := w.watcher(1)
		w.enter(o, "c", "me")
		pass()
		o.clear()
		for _, data := range []string{"1", `"` + strings.Repeat("x", 200) + `"`, `"` + strings.Repeat("x", 1<<16) + `"`} {
			w.do("c", "+new")
			w.watchers.Precede(direct("other", data))
			elsewhere := direct("new", data)
			elsewhere[0].App = "another app"
			w.watchers.Precede(elsewhere)
			o.want()
			w.watchers.Precede(direct("new", data))
			o.Flush() // which the message has done: what is shown is in the queue before it
			o.want("c: +new")
			w.watchers.Precede(direct("new", data))
			pass()
			o.want()
			w.do("c", "-new")
			w.watchers.Precede(direct("new", data)) // sent before it left
			o.want()
			pass()
			o.want("c: -new")
		}
		// Those to whom the message does not go are shown it as well.
		w.do("c", "+new")
		w.watchers.Precede(direct("new", "1"))
		synctest.Wait()
		o.want("c: +new")
	})
}

// In a large channel gathering matters more: a thousand newcomers who all have
// something to say do not make a thousand frames.
func TestPrecedeLeavesLargeChannelsAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", fleet(few)...)
		o := w.watcher(1)
		w.enter(o, "c", "me")
		pass()
		pass()
		o.clear()
		w.do("c", "+new")
		w.watchers.Precede(direct("new", "1"))
		o.want()
		pass()
		o.want("c: +new")
	})
}

// Only the newcomer is shown before its message, in all small channels that it has just
// joined. The other changes of these windows gather on, however many.
func TestPrecedeShowsTheNewcomerAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", fleet(2*large)...)
		w.do("d", "+x")
		o, p := w.watcher(1), w.watcher(2)
		p.lax = true
		w.watch(o, "c")
		w.watch(o, "d")
		w.watch(o, "e")
		must(t, w.watchers.WatchPattern(p, app, mustCompile(t, "*"), none))
		pass()
		o.clear()
		w.do("c", leaving(2*large)...)
		w.do("c", "+first", "+new")
		w.do("d", "+new", "-x")
		w.do("e", "+other")
		w.watchers.Precede(direct("new", "1"))
		w.watchers.Precede(direct("new", "2"))
		o.Flush()
		p.Flush()
		o.want("c: +new", "d: +new")
		p.want("c: +new", "d: +new")
		w.do("d", "-new")
		pass()
		for _, name := range []string{"c", "d", "e"} {
			w.wantTruth(o, name)
			w.wantTruth(p, name)
		}
		if n := len(o.lines); n != 3 {
			t.Errorf("%d frames, want one for each channel", n)
		}
		if n := w.watchers.countJoining(); n != 0 {
			t.Errorf("%d peers have joined, and wait for windows that are closed", n)
		}
	})
}

// Channels that nobody watches any more are not kept for their newcomers, nor are those
// that the newcomer has left again.
func TestPrecedeForgetsChannels(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o := w.watcher(1)
		w.watch(o, "c")
		w.watch(o, "d")
		pass()
		o.clear()
		w.do("c", "+new")
		w.do("d", "+new")
		w.watchers.Unwatch(o, app, "c")
		w.watchers.Precede(direct("new", "1"))
		o.Flush()
		o.want("d: +new")
		w.do("d", "+again", "-new")
		w.do("d", "-again")
		if n := w.watchers.countJoining(); n != 0 {
			t.Errorf("%d peers have joined, and have left again", n)
		}
		w.do("d", "+new")
		w.watchers.Unwatch(o, app, "d")
		if n := w.watchers.countJoining(); n != 0 {
			t.Errorf("%d peers have joined channels that are not watched", n)
		}
		pass()
		o.want()
	})
}

// HOSTILE: very many windows are open. A message ends none of them: it is preceded by what
// is not shown yet of its sender, and nothing else.
func TestPrecedeWithManyWindows(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const many = 2000
		o := w.watcher(1)
		for i := range many {
			w.watch(o, fmt.Sprint("c", i))
		}
		pass()
		o.clear()
		for i := range many {
			w.do(fmt.Sprint("c", i), fmt.Sprint("+p", i))
		}
		w.do("c7", "+p8")
		w.watchers.Precede(direct("stranger", "1"))
		o.Flush()
		o.want()
		w.watchers.Precede(direct("p8", "1"))
		o.Flush()
		o.want("c8: +p8", "c7: +p8")
		pass()
		if n := len(o.lines); n != many-1 {
			t.Errorf("%d windows were closed in time, want %d", n, many-1)
		}
	})
}
