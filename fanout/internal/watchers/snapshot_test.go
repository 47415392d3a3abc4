package watchers

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/pkg/presence"
)

// HOSTILE: connections that ask for a snapshot one after the other, and keep it by
// not reading, share one as long as nobody comes or goes. Nothing else keeps it.
func TestSnapshotIsSharedOverTime(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", fleet(300)...)
		var all []*watcher
		enter := func() (frame *byte) {
			o := w.watcher(uint64(len(all) + 1))
			all = append(all, o)
			w.watch(o, "c") // as another connection of a peer that is there
			pass()
			w.wantTruth(o, "c")
			return &o.frames[0][0]
		}
		first := enter()
		for range 5 {
			if enter() != first {
				t.Fatal("a snapshot of the same members was built again")
			}
		}
		w.do("c", "-p0007")
		pass()
		second := enter()
		if second == first {
			t.Fatal("a snapshot is shown that is not true any more")
		}
		w.do("c", `+p0008{"k":1}`)
		pass()
		if third := enter(); third == second {
			t.Fatal("a snapshot is shown with former metadata")
		}

		v := w.watchers.views[presence.ChannelID{App: app, Channel: "c"}]
		if v.shown.Value() == nil {
			t.Fatal("the snapshot is not kept for those who come next")
		}
		for _, o := range all {
			o.frames = nil // all have read it
		}
		parsed.Clear()
		runtime.GC()
		if v.shown.Value() != nil {
			t.Error("the view itself keeps the snapshot in memory")
		}
		enter()
	})
}

// A large channel's snapshot is encoded without the lock. A change meanwhile reaches
// those who were there before, and the newcomer, after its snapshot.
func TestChangesWhileASnapshotIsEncoded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", fleet(3*large)...)
		before, newcomer := w.watcher(1), w.watcher(2)
		w.watch(before, "c")
		pass()
		before.lines = nil
		w.meanwhile(func() { // between the end of the window and the snapshot
			w.do("c", "-p0001", "+late", `+p0002{"k":1}`)
		})
		w.do("c", "+x")
		w.watch(newcomer, "c")
		time.Sleep(3 * window)
		synctest.Wait()
		w.happened()
		changes := `c: +late +p0002{"k":1} -p0001`
		before.want("c: +x", changes)
		if n := len(newcomer.lines); n != 2 || newcomer.lines[1] != changes {
			t.Errorf("the newcomer was shown %d frames: %q", n, newcomer.lines[1:])
		}
		w.do("c", "-late")
		pass()
		w.wantTruth(before, "c")
		w.wantTruth(newcomer, "c")
	})
}

// Connections that leave, or leave and come again, while a snapshot for them is encoded
// get none, or one.
func TestComingAndGoingWhileASnapshotIsEncoded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", fleet(3*large)...)
		before, gone, again := w.watcher(1), w.watcher(2), w.watcher(3)
		w.watch(before, "c")
		pass()
		before.lines = nil
		w.meanwhile(func() {
			if !w.watchers.Unwatch(gone, app, "c") {
				t.Error("the snapshot was not promised any more while it was encoded")
			}
			w.watchers.Unwatch(again, app, "c")
			w.watch(again, "c")
		})
		w.do("c", "+x")
		w.watch(gone, "c")
		w.watch(again, "c")
		time.Sleep(3 * window)
		synctest.Wait()
		w.happened()
		before.want("c: +x")
		gone.want()
		if len(again.lines) != 1 {
			t.Errorf("the connection that came again was shown %d frames", len(again.lines))
		}
		w.wantTruth(again, "c")
	})
}

// The same where no connection watches the channel yet. Its snapshot is small if all
// but one have just left, of which those hear who watch patterns.
func TestChangesWhileTheFirstSnapshotIsEncoded(t *testing.T) {
	for _, leave := range []bool{false, true} {
		t.Run(fmt.Sprint("leave ", leave), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.do("c", fleet(3*large)...)
				pattern, one := w.watcher(1), w.watcher(2)
				pattern.lax = true
				must(t, w.watchers.WatchPattern(pattern, app, mustCompile(t, "*"), none))
				w.meanwhile(func() { w.do("c", "+late") })
				if leave {
					w.do("c", leaving(3*large)...)
				}
				w.do("c", "+x")
				w.watch(one, "c")
				time.Sleep(3 * window)
				synctest.Wait()
				w.happened()
				if len(one.lines) != 2 || one.lines[1] != "c: +late" {
					t.Errorf("%d frames came: %q", len(one.lines), one.lines[1:])
				}
				w.wantTruth(one, "c")
				if n := len(pattern.lines); n != 2 || !strings.HasPrefix(pattern.lines[0], "c: +x") || pattern.lines[1] != "c: +late" {
					t.Errorf("%d frames came by pattern", n)
				}
			})
		})
	}
}

// A channel that is left by all while its snapshot is encoded, and then watched again,
// is loaded anew.
func TestWatchedAgainWhileASnapshotIsEncoded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", fleet(3*large)...)
		pattern, one, two := w.watcher(1), w.watcher(2), w.watcher(3)
		pattern.lax = true
		must(t, w.watchers.WatchPattern(pattern, app, mustCompile(t, "*"), none))
		w.meanwhile(func() {
			w.watchers.Unwatch(one, app, "c")
			w.watch(two, "c")
		})
		w.watch(one, "c")
		w.do("c", "+x")
		time.Sleep(3 * window)
		synctest.Wait()
		w.happened()
		one.want()
		w.wantTruth(two, "c")
		pattern.want("c: +x")
		w.do("c", "+y")
		pass()
		w.wantTruth(two, "c")
		pattern.want("c: +y")
		w.watchers.UnwatchPattern(pattern, app, mustCompile(t, "*"))
		w.meanwhile(func() { w.watchers.Unwatch(two, app, "c") })
		w.do("c", leaving(3*large)...)
		pass()
		w.happened()
		if n := w.watchers.Views(); n != 0 {
			t.Errorf("%d channels are kept, and nobody watches", n)
		}
	})
}
