package stage

import (
	"strings"
	"testing"

	"fleetwire/chaos/internal/plan"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// Each fault of each form can be made, and when it is over Redis serves: the faults of a
// form come in any order, so none may leave anything behind.
func TestEveryFaultOfEveryFormIsMade(t *testing.T) {
	for form, start := range backends {
		t.Run(string(form), func(t *testing.T) {
			t.Parallel()
			b := start(t, Options{Nodes: 2})
			for i, f := range plan.Of(form) {
				if f.Fleet || strings.HasPrefix(f.Name, "node-") {
					continue
				}
				lift := b.inject(plan.Step{Fault: f, Node: 1, Pick: uint32(i)})
				if lift == nil {
					t.Errorf("the fault %s is not made", f.Name)
					continue
				}
				lift()()
				for node := range 2 {
					rdb := redistest.Open(t, b.url(node), redisconn.TLS{})
					redistest.Eventually(t, patience, "Redis serves node after "+f.Name, func() bool {
						return rdb.Set(t.Context(), movable(uint32(i)), f.Name, 0).Err() == nil && rdb.Get(t.Context(), movable(uint32(i))).Val() == f.Name
					})
				}
			}
		})
	}
	for _, form := range plan.Forms {
		if backends[form] == nil {
			t.Errorf("%s cannot be started", form)
		}
	}
}
