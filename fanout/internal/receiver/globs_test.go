package receiver

import (
	"fmt"
	"testing"

	"fleetwire/pkg/envelope"
)

// However many patterns a node has, it has a bounded number of globs in Redis,
// and none when the last pattern is gone.
func TestGlobsAreBounded(t *testing.T) {
	g := newGlobs()
	app := globApp{envelope.KindMessages, "app"}
	const patterns = 5 * maxGlobs
	asked := func(i int) string { return fmt.Sprintf("devices/%d/*", i) }
	for round := range 2 { // each pattern twice
		for i := range patterns {
			glob := g.choose(app, asked(i))
			if want := asked(i); i < maxGlobs && glob != want || i >= maxGlobs && glob != everyChannel {
				t.Errorf("round %d: %q for pattern %d, want %q or, past the bound, %q", round, glob, i, want, everyChannel)
			}
			g.add(app, asked(i), glob)
		}
	}
	if n := len(g.inUse[app]); n != maxGlobs+1 {
		t.Errorf("%d globs in use, want %d and one for all channels", n, maxGlobs)
	}
	if glob := g.choose(globApp{envelope.KindMessages, "other"}, asked(0)); glob != asked(0) {
		t.Errorf("another app's pattern got %q", glob)
	}
	if glob := g.choose(globApp{envelope.KindPresence, "app"}, asked(patterns)); glob != asked(patterns) {
		t.Errorf("a pattern of another kind got %q", glob)
	}
	for round := range 2 {
		for i := range patterns {
			if glob, ok := g.remove(app, asked(i)); !ok || (glob == everyChannel) != (i >= maxGlobs) {
				t.Errorf("round %d: removing pattern %d gave %q, %v", round, i, glob, ok)
			}
		}
	}
	if _, ok := g.remove(app, asked(0)); ok {
		t.Error("a pattern was removed once more than it was added")
	}
	if len(g.chosen) != 0 || len(g.inUse) != 0 {
		t.Errorf("left over: %v, %v", g.chosen, g.inUse)
	}
}
