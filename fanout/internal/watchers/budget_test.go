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

// big is a peer's line in an announcement, with metadata of 4 KiB.
func big(i int) string {
	return "+p" + fmt.Sprintf(`{"m":"%04d%s"}`, i, strings.Repeat("x", 4000))
}

// What an app's watchers are sent is bounded: changes gather for longer, none is
// lost, and another app's come as ever.
func TestBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const watchers, seconds = 1000, 10
		all := make([]*watcher, watchers)
		w.do("c", "+stays")
		for i := range all {
			all[i] = w.watcher(uint64(i + 1))
			w.watch(all[i], "c")
		}
		bystander := w.watcher(5000)
		w.watchers.Watch(bystander, "other", "v")
		w.watchers.Ready(bystander, "other", "v", presence.Version{})
		pass()
		for _, o := range append(all, bystander) {
			o.lines = nil
		}
		for i := range seconds * 10 {
			w.do("c", big(i))
			kind := "+"
			if i%2 == 1 {
				kind = "-"
			}
			w.watchers.Announced([]envelope.Delivery{{Kind: envelope.KindPresence, App: "other", Channel: "v", Frame: fmt.Appendf(nil, "7:%d\n%sq\t\n", i+1, kind)}})
			pass()
		}
		each := perFrame + 4100
		most := int((burst+seconds*time.Second)/(watchers*time.Duration(each)*perByte)) + 1
		if n := len(all[0].lines); n > most || n < most-5 {
			t.Errorf("a watcher was sent %d frames of 4 KiB in %d s, want about %d", n, seconds, most)
		}
		if n := len(bystander.lines); n < seconds*10-1 {
			t.Errorf("another app's watcher was sent %d frames for %d changes", n, seconds*10)
		}
		time.Sleep(time.Second)
		pass()
		for _, o := range all {
			w.wantTruth(o, "c")
		}
	})
}

// counter is a watcher that only counts.
type counter struct{ snapshots int }

func (*counter) ID() uint64                         { return 1 }
func (*counter) AppendPresence([]byte) bool         { return false }
func (c *counter) AppendSnapshot(frame []byte) bool { c.snapshots++; return false }
func (*counter) Flush()                             {}

// Snapshots and what is read for them count as well: a connection that watches a large channel anew again and
// again is kept waiting, and in the end gets what it was promised.
func TestBudgetOfSnapshots(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		changes := make([]string, 1000)
		for i := range changes {
			changes[i] = fmt.Sprintf(`+p%04d{"m":"%s"}`, i, strings.Repeat("x", 4000))
		}
		w.do("c", changes...)
		c := &counter{}
		again := func(watched time.Duration) {
			w.watchers.Watch(c, app, "c")
			w.watchers.Ready(c, app, "c", presence.Version{})
			time.Sleep(watched)
			synctest.Wait()
			w.watchers.Unwatch(c, app, "c")
			time.Sleep(10 * time.Millisecond)
		}
		const seconds = 5
		for range seconds * 50 {
			again(10 * time.Millisecond)
		}
		if most := (burstBytes+seconds*bytesPerSecond)/(4<<20) + 6; c.snapshots > most || c.snapshots < 10 {
			t.Errorf("%d snapshots of 4 MiB in %d s, want up to %d", c.snapshots, seconds, most)
		}
		// Each time the channel was to be read, for nobody else watches it.
		if most := (burstBytes+seconds*bytesPerSecond)/(1000*(4000+perRead)) + 2; w.loads > most || w.loads < 10 {
			t.Errorf("it was read %d times, want up to %d", w.loads, most)
		}
		bystander := w.watcher(5000)
		w.watchers.Watch(bystander, "other", "v")
		w.watchers.Ready(bystander, "other", "v", presence.Version{})
		pass()
		if len(bystander.frames) != 1 {
			t.Error("another app's watcher waits for its snapshot")
		}
		before := c.snapshots
		again(time.Second)
		if c.snapshots != before+1 {
			t.Errorf("%d snapshots for the last that watched", c.snapshots-before)
		}
	})
}
