package stage

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/chaos/internal/plan"
	"fleetwire/pkg/redisconn/redistest"
)

// sentineled is a primary and its replica, which nodes find through Sentinels.
type sentineled struct {
	t        testing.TB
	sentinel *redistest.Sentinel
}

func startSentinel(t testing.TB, _ Options) backend {
	return &sentineled{t, redistest.StartLinkedSentinel(t, 1)}
}

func (s *sentineled) client() redis.UniversalClient { return s.sentinel.Client() }

func (s *sentineled) url(node int) string { return withName(s.sentinel.URL(), node) }

func (s *sentineled) inject(step plan.Step) lift {
	switch step.Fault.Name {
	case "failover-planned":
		s.sentinel.Failover()
		return func() func() { return s.settle }
	case "failover-killed":
		old := s.sentinel.Settled()
		old.Stop()
		return s.replaced(old, old.Restart)
	case "failover-stopped":
		old := s.sentinel.Settled()
		old.Freeze()
		return s.replaced(old, old.Thaw)
	}
	return injectNamed(s.t, step, s.sentinel.Links)
}

// replaced waits until another server is the primary. The former comes back when all nodes
// have found the new one.
func (s *sentineled) replaced(old *redistest.Server, back func()) lift {
	return func() func() {
		s.sentinel.Replaced(old)
		return func() {
			back()
			s.settle()
		}
	}
}

func (s *sentineled) settle() { s.sentinel.Settled() }
