package command

import (
	"math/rand/v2"
	"testing"
	"time"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn/redistest"
)

// All that the scripts touch lies in one slot, also what they do not declare.
func TestOnACluster(t *testing.T) {
	w := newWorld(t, redistest.StartCluster(t).Client())
	w.store.inSteps = true
	w.store.scripts = newScripts("#!lua\n" + testClock + deadline.Lua)
	walk(w, rand.Uint64(), 300, calm{})
	if page, err := w.store.List(t.Context(), "app", channel, "", "", 500); err != nil || len(page.Commands) == 0 {
		t.Errorf("%d commands, %v", len(page.Commands), err)
	}
	id := w.create(func(n *New) { n.TTL, n.Rollout.PerMinute, n.Notify = time.Hour, 60, "ops" })
	w.store.opt.Publisher = &publishes{}
	w.claim(id, false, "a")
	w.pass(1000)
	w.due()
	w.store.Finish()
	if n := len(w.store.opt.Publisher.(*publishes).messages); n == 0 {
		t.Error("no snapshot was taken")
	}
}
