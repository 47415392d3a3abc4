package watchers

import (
	"runtime"
	"testing"

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
