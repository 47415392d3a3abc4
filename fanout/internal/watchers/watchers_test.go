package watchers

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/presence"
)

func TestSnapshotThenChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", `+a{"k":1}`, "+b")
		o := w.watcher(1)
		w.enter(o, "c", "o")
		synctest.Wait()
		o.want(`c: +a{"k":1} +b +o`) // at once: there is nobody to wait for

		w.do("c", "+d")
		w.do("c", "-a")
		w.do("c", `+e{}`)
		synctest.Wait()
		o.want()
		pass()
		o.want("c: +d +e{} -a")
		pass()
		w.do("c", "-o")
		w.do("other", "+x")
		pass()
		o.want("c: -o")
	})
}

func TestNobodyIsThere(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o := w.watcher(1)
		w.watch(o, "c")
		pass()
		o.want("c:")
	})
}

// What happens and is undone within one window has not happened.
func TestWindowNets(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", "+a", `+b{"n":1}`, `+m{"n":1}`)
		o := w.watcher(1)
		w.watch(o, "c")
		p := w.watcher(2)
		p.lax = true
		must(t, w.watchers.WatchPattern(p, app, mustCompile(t, "*"), none))
		pass()
		o.want(`c: +a +b{"n":1} +m{"n":1}`)
		p.want()

		w.do("c", "+x")
		w.do("c", "-x")
		w.do("c", "-a")
		w.do("c", "+a")
		pass()
		o.want()
		p.want()

		w.do("c", "-b")
		w.do("c", `+b{"n":2}`) // back with other metadata
		w.do("c", `+m{"n":2}`) // never gone
		pass()
		o.want(`c: +b{"n":2} +m{"n":2}`)
		p.want(`c: +b{"n":2} +m{"n":2}`)

		w.do("c", "+m") // has none any more
		pass()
		o.want("c: +m")
		p.want("c: +m")

		w.do("c", `+m{"n":3}`)
		w.do("c", "-m")
		pass()
		o.want("c: -m")
		p.want("c: -m")
	})
}

// Windows are no longer than they say, however much happens.
func TestWindowsCloseInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o := w.watcher(1)
		w.watch(o, "c")
		pass()
		o.want("c:")
		for i := range 500 { // one every 10 ms
			w.do("c", fmt.Sprint("+p", i))
			time.Sleep(10 * time.Millisecond)
		}
		pass()
		if n := len(o.lines); n < 45 || n > 51 {
			t.Errorf("%d frames in 5 s, want one each 100 ms", n)
		}
		w.wantTruth(o, "c")
	})
}

// Newcomers of one window share one snapshot, which is consistent with the changes
// that they get afterwards, and the others get changes alone.
func TestManyNewcomers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", fleet(few)...) // in a smaller channel, newcomers do not wait
		first := w.watcher(1)
		w.enter(first, "c", "first")
		pass()
		w.wantTruth(first, "c")
		var all []*watcher
		for i := range 2000 {
			o := w.watcher(uint64(i + 2))
			all = append(all, o)
			w.enter(o, "c", fmt.Sprintf("n%04d", i))
			if i%100 == 99 {
				time.Sleep(25 * time.Millisecond) // 5 windows
			}
		}
		pass()
		w.do("c", "-first")
		pass()
		snapshots := map[*byte]bool{}
		for _, o := range all {
			w.wantTruth(o, "c")
			snapshots[&o.frames[0][0]] = true
			if !strings.Contains(o.lines[0], fmt.Sprintf("+n%04d", o.id-2)) {
				t.Fatalf("the snapshot of connection %d lacks its own peer", o.id)
			}
			if n := len(o.frames); n > 8 {
				t.Fatalf("connection %d got %d frames in 6 windows", o.id, n)
			}
		}
		if n := len(snapshots); n > 7 {
			t.Errorf("%d snapshots were built in 6 windows", n)
		}
		if n := len(first.frames); n > 8 {
			t.Errorf("the first got %d frames in 6 windows", n)
		}
		w.wantTruth(first, "c")
		if w.loads != 1 {
			t.Errorf("the channel was loaded %d times", w.loads)
		}
	})
}

// The snapshot waits for Ready (the ack goes before it), and for the newcomer's
// own join to have come.
func TestSnapshotIsNotTooEarly(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", "+a")
		o, other := w.watcher(1), w.watcher(2)
		w.watch(other, "c")
		pass()
		other.want("c: +a")
		w.watchers.Watch(o, app, "c")
		w.do("c", "+b")
		pass()
		pass()
		o.want()
		other.want("c: +b")

		// Its join is in Redis, and its announcement is under way.
		w.set(func() { w.loses = true })
		v := w.do("c", "+o")
		w.set(func() { w.loses = false })
		w.watchers.Ready(o, app, "c", v)
		pass()
		o.want()
		w.announce("c", v, "+o\t")
		pass()
		o.want("c: +a +b +o")
		other.want("c: +o")
	})
}

// An announcement of the own join that never comes does not keep the snapshot.
func TestOwnJoinIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o := w.watcher(1)
		w.watch(o, "c")
		pass()
		o.want("c:")
		late := w.watcher(2)
		w.watchers.Watch(late, app, "c")
		w.set(func() { w.loses = true })
		w.watchers.Ready(late, app, "c", w.do("c", "+late"))
		pass()
		pass()
		pass()
		late.want("c: +late")
		o.want("c: +late")
	})
}

func TestUnwatch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o, p, q := w.watcher(1), w.watcher(2), w.watcher(3)
		w.enter(o, "c", "o")
		w.enter(p, "c", "p")
		promised := func(what string, got, want bool) {
			if got != want {
				t.Errorf("%s: a snapshot is promised: %v, want %v", what, got, want)
			}
		}
		promised("the first Watch", w.watchers.Watch(q, app, "c"), true) // never ready
		promised("the second Watch", w.watchers.Watch(q, app, "c"), false)
		pass()
		promised("Watch of who has been shown", w.watchers.Watch(o, app, "c"), false)
		w.do("c", "+x")
		promised("Unwatch of who has been shown", w.watchers.Unwatch(o, app, "c"), false)
		promised("Unwatch of nobody", w.watchers.Unwatch(o, app, "c"), false)
		promised("Unwatch of who has not been shown", w.watchers.Unwatch(q, app, "c"), true)
		w.watchers.Ready(q, app, "c", presence.Version{})
		w.watchers.Ready(o, app, "c", presence.Version{})
		w.watchers.Unwatch(q, app, "nowhere")
		pass()
		o.want("c: +o +p")
		p.want("c: +o +p", "c: +x")
		q.want()
		clear(o.shown)
		w.enter(o, "c", "o") // back
		pass()
		o.want("c: +o +p +x")
		p.want()
		w.watchers.Unwatch(o, app, "c")
		w.watchers.Unwatch(p, app, "c")
		pass()
		if len(w.wanted) != 0 || len(w.watchers.views) != 0 || len(w.watchers.watching) != 0 {
			t.Errorf("wanted %v, %d views, %d entries; want nothing", w.wanted, len(w.watchers.views), len(w.watchers.watching))
		}
	})
}

// Whoever watches patterns gets the changes of all channels that match, no
// snapshot, and one frame for each window, also when it watches by name too.
func TestPatterns(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("d/1", "+old")
		wild, both, twice, elsewhere := w.watcher(1), w.watcher(2), w.watcher(3), w.watcher(4)
		for _, watch := range []struct {
			o       *watcher
			app     string
			pattern string
		}{{wild, app, "d/*"}, {both, app, "d/*"}, {twice, app, "d/*"}, {twice, app, "**"}, {twice, app, "d/**"}, {wild, app, "d/*"}, {elsewhere, "app2", "**"}, {elsewhere, app, "e/*"}} {
			must(t, w.watchers.WatchPattern(watch.o, watch.app, mustCompile(t, watch.pattern), none))
		}
		w.watch(both, "d/1")
		for _, o := range []*watcher{wild, twice} {
			o.lax = true
		}
		pass()
		both.want("d/1: +old")
		w.do("d/1", "+a")
		w.do("d/2", "+b")
		w.do("d/1", "-old")
		w.do("d/2/3", "+c")
		pass()
		wild.want("d/1: +a -old", "d/2: +b")
		both.want("d/1: +a -old", "d/2: +b")
		twice.want("d/1: +a -old", "d/2: +b", "d/2/3: +c")
		elsewhere.want()

		w.watchers.Unwatch(both, app, "d/1")
		w.watchers.UnwatchPattern(twice, app, mustCompile(t, "d/*"))
		w.watchers.UnwatchPattern(twice, app, mustCompile(t, "d/*"))
		w.watchers.UnwatchPattern(wild, app, mustCompile(t, "d/*"))
		w.watchers.UnwatchPattern(wild, app, mustCompile(t, "no/*"))
		w.do("d/1", "-a")
		pass()
		wild.want()
		both.want("d/1: -a")
		twice.want("d/1: -a")
		w.watchers.UnwatchPattern(both, app, mustCompile(t, "d/*"))
		w.watchers.UnwatchPattern(twice, app, mustCompile(t, "**"))
		w.watchers.UnwatchPattern(twice, app, mustCompile(t, "d/**"))
		w.watchers.UnwatchPattern(elsewhere, app, mustCompile(t, "e/*"))
		w.watchers.UnwatchPattern(elsewhere, "app2", mustCompile(t, "**"))
		if len(w.wanted) != 0 || len(w.watchers.views) != 0 || len(w.watchers.patterns) != 0 {
			t.Errorf("wanted %v, %d views, %d apps; want nothing", w.wanted, len(w.watchers.views), len(w.watchers.patterns))
		}
	})
}

func TestPatternRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.down = true
		if err := w.watchers.WatchPattern(w.watcher(1), app, mustCompile(t, "*"), none); err != errDown {
			t.Errorf("%v, want %v", err, errDown)
		}
		if len(w.watchers.patterns) != 0 {
			t.Error("it is watched all the same")
		}
	})
}

// A missing announcement has the view loaded again, and the difference shown.
func TestGap(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", "+a", "+b")
		o := w.watcher(1)
		w.watch(o, "c")
		pass()
		o.want("c: +a +b")
		w.set(func() { w.loses = true })
		w.do("c", "-a")
		w.do("c", `+b{"n":2}`)
		w.set(func() { w.loses = false })
		w.do("c", "+d")
		pass()
		o.want(`c: +b{"n":2} +d -a`)
		if w.loads != 2 {
			t.Errorf("loaded %d times, want twice", w.loads)
		}
	})
}

// What is announced while the view is loaded is neither lost nor shown twice.
func TestAnnouncedWhileLoading(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", "+a", "+b")
		o := w.watcher(1)
		w.hold = make(chan struct{})
		w.watch(o, "c")
		synctest.Wait() // the load has its answer, which is under way
		w.do("c", "-a")
		w.do("c", "+d")
		pass()
		o.want()
		close(w.hold)
		pass()
		o.want("c: +b +d")
		w.do("c", "-b")
		pass()
		o.want("c: -b")
		if w.loads != 1 {
			t.Errorf("loaded %d times, want once", w.loads)
		}
	})
}

// A channel that many join while it is loaded does not pile up announcements.
func TestTooManyWhileLoading(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o := w.watcher(1)
		w.hold = make(chan struct{})
		w.watch(o, "c")
		synctest.Wait()
		for _, c := range fleet(maxPending + 500) {
			w.do("c", c)
		}
		if n := len(w.watchers.views[presence.ChannelID{App: app, Channel: "c"}].pending); n > maxPending {
			t.Errorf("%d announcements wait", n)
		}
		close(w.hold)
		pass()
		w.wantTruth(o, "c")
		if len(o.frames) != 1 {
			t.Errorf("%d frames, want the snapshot alone", len(o.frames))
		}
	})
}

// A lost link shows the difference, when it is back.
func TestLinkIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", "+a", "+b")
		o, late := w.watcher(1), w.watcher(2)
		w.watch(o, "c")
		pass()
		w.set(func() { w.loses, w.down = true, true })
		w.do("c", "-a")
		w.do("c", "+d")
		w.watch(late, "c")
		other := w.watcher(3)
		w.watch(other, "other")
		pass()
		late.want("c: +a +b") // as far as is known
		other.want()
		w.set(func() { w.loses, w.down = false, false })
		w.watchers.Restored()
		pass()
		time.Sleep(time.Second)
		o.want("c: +a +b", "c: +d -a")
		late.want("c: +d -a")
		other.want("other:")
		w.do("c", "+e")
		pass()
		o.want("c: +e")
	})
}

// An app whose channels take long to load holds up no other.
func TestLoadsOfAppsAreApart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		w.hold, w.held = hold, app
		slow := w.watcher(1)
		for i := range 3 * loadedAtOnce {
			w.watch(slow, fmt.Sprint("c", i))
		}
		for i := range 2 * loaders {
			o := w.watcher(uint64(2 + i))
			other := fmt.Sprint("other", i)
			w.watchers.Watch(o, other, "c")
			w.watchers.Ready(o, other, "c", presence.Version{})
			pass()
			o.want("c:")
		}
		slow.want()
		close(hold)
		pass()
		if n := len(slow.frames); n != 3*loadedAtOnce {
			t.Errorf("%d snapshots came, want %d", n, 3*loadedAtOnce)
		}
	})
}

// A channel that Redis refuses to read, as its key is of another type, holds up no
// other, and is read when it can be.
func TestOneChannelIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("bad", "+b")
		w.do("good", "+g")
		w.set(func() { w.refused = "bad" })
		o := w.watcher(1)
		w.watch(o, "bad")
		w.watch(o, "good")
		pass()
		o.want("good: +g")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if w.loads > 100 {
			t.Errorf("%d loads in 10 s", w.loads)
		}
		o.want()
		w.set(func() { w.refused = "" })
		time.Sleep(loadRetry)
		pass()
		o.want("bad: +b")
	})
}

// When Redis has lost everything, nodes state their members again; nobody has left
// who is stated within the time, and who is not has.
func TestRedisIsEmptied(t *testing.T) {
	for _, restored := range []bool{true, false} {
		t.Run(fmt.Sprint("link lost ", restored), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.do("c", "+a", "+b", "+gone")
				w.do("empty", "+x")
				o, e := w.watcher(1), w.watcher(2)
				w.watch(o, "c")
				w.watch(e, "empty")
				pass()
				o.want("c: +a +b +gone")
				e.want("empty: +x")
				w.set(func() { clear(w.channels) })
				if restored {
					w.watchers.Restored()
				}
				pass()
				w.do("c", "+b")
				time.Sleep(3 * time.Second)
				o.want()
				w.do("c", "+a")
				w.do("c", "+new")
				pass()
				o.want("c: +new")
				late := w.watcher(3)
				w.watch(late, "c")
				pass()
				late.want("c: +a +b +gone +new") // gone may still come back
				time.Sleep(settling)
				o.want("c: -gone")
				late.want("c: -gone")
				if restored {
					e.want("empty: -x")
				}
				w.do("c", "-a")
				pass()
				o.want("c: -a")
			})
		})
	}
}

// After Redis has lost everything it does not know all nodes of a peer: one that
// leaves the only node that Redis knows of may still be on another.
func TestLeavingOneOfTwoNodesAfterRedisIsEmptied(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", "+a", "+moved", "+gone")
		o := w.watcher(1)
		w.watch(o, "c")
		pass()
		o.want("c: +a +gone +moved")
		w.set(func() { clear(w.channels) })
		w.do("c", "+a", "+moved", "+gone") // by their second nodes
		pass()
		w.do("c", "-moved", "-gone") // which they leave again
		pass()
		o.want()
		w.do("c", "+moved") // by its first node
		pass()
		o.want()
		time.Sleep(settling)
		o.want("c: -gone")
	})
}

// Redis loses everything once more before it was told everything again.
func TestRedisIsEmptiedTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", "+a", "+gone")
		o := w.watcher(1)
		w.watch(o, "c")
		pass()
		o.want("c: +a +gone")
		for range 2 {
			w.set(func() { clear(w.channels) })
			w.do("c", "+x")
			time.Sleep(settling - time.Second)
		}
		o.want("c: +x")
		w.do("c", "+a") // in the time that there is since the second
		time.Sleep(2 * time.Second)
		o.want("c: -gone")
		w.wantTruth(o, "c")
	})
}

// A channel that is empty now and then does not keep those who were lost.
func TestSettlingEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", "+ghost")
		o := w.watcher(1)
		w.watch(o, "c")
		pass()
		o.want("c: +ghost")
		w.set(func() { clear(w.channels) })
		for range 8 {
			w.do("c", "+x")
			time.Sleep(2 * time.Second)
			w.do("c", "-x")
			time.Sleep(time.Second)
		}
		pass()
		if _, there := o.shown["c"]["ghost"]; there {
			t.Errorf("the ghost is there after %v", 24*time.Second)
		}
		w.wantTruth(o, "c")
	})
}

// Announcements that are no such thing are dropped, and said so.
func TestForeignAnnouncement(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o := w.watcher(1)
		w.watch(o, "c")
		pass()
		o.want("c:")
		w.watchers.Announced([]envelope.Delivery{{Kind: envelope.KindPresence, App: app, Channel: "c", Frame: []byte("hello")}})
		w.do("c", "+a")
		pass()
		o.want("c: +a")
		if !strings.Contains(w.log.String(), "not from fleetwire") {
			t.Errorf("the log says %q", w.log.String())
		}
	})
}

func none(error) {}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
