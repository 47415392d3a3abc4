package command

import (
	"math/rand/v2"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// All that the scripts touch lies in one slot, also what they do not declare.
func TestOnACluster(t *testing.T) {
	w := newWorld(t, redistest.StartCluster(t).Client())
	w.store.scripts = newScripts("#!lua\n" + testClock)
	walk(w, rand.Uint64(), 300)
	if page, err := w.store.List(t.Context(), "app", channel, "", "", 500); err != nil || len(page.Commands) == 0 {
		t.Errorf("%d commands, %v", len(page.Commands), err)
	}
	w.store.Wait()
}
