package members

import (
	"context"
	"slices"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/registry"
)

// Redis's clock is set: nobody who lives is taken for dead, and who died is no longer
// waited for than from that moment.
func TestLeasesWhenTheClockIsSet(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -20 * time.Second, 20 * time.Second, time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			m, rdb := redistest.Embedded(t)
			at := time.UnixMilli(1_767_225_600_123)
			m.SetTime(at)
			s := &store{redis: rdb}
			times := timesOf(registry.Lease)
			ctx := context.Background()
			lease := func(ask leaseRequest) (dead []string) {
				t.Helper()
				held, dead, err := s.lease(ctx, times, ask)
				if err != nil || !held {
					t.Fatalf("%+v: held %v, %v", ask, held, err)
				}
				return dead
			}
			for _, node := range []string{"one", "two", "dying"} {
				lease(leaseRequest{node: node, begin: true})
			}
			at = at.Add(step + 2*time.Second)
			m.SetTime(at)
			renewed := time.Now().Add(-2 * time.Second) // by the nodes' own clocks
			for _, node := range []string{"one", "two"} {
				if dead := lease(leaseRequest{node: node, reap: 4, renewed: renewed}); len(dead) > 0 {
					t.Errorf("%s is to reap %q", node, dead)
				}
			}
			at = at.Add(registry.Lease + 2*time.Second)
			m.SetTime(at)
			renewed = time.Now().Add(-registry.Lease - 2*time.Second)
			if dead := lease(leaseRequest{node: "one", reap: 4, renewed: renewed}); !slices.Contains(dead, "dying") {
				t.Errorf("the dead are %q, want dying among them", dead)
			}
		})
	}
}
