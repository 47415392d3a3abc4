package stage

import (
	"testing"
	"time"

	"fleetwire/chaos/internal/plan"
)

// The clock of Redis is set, back too, and no other.
func TestTheClockOfRedisIsSet(t *testing.T) {
	c, _ := startClocked(t, Options{Nodes: 1}).(*clocked)
	fault, _ := plan.ByName("clock-set")
	off := func() time.Duration {
		at, err := c.primary.Client().Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return time.Until(at).Round(time.Second)
	}
	before := off()
	lift := c.inject(plan.Step{Fault: fault})
	during := off()
	lift()()
	if after := off(); before != 0 || during != ahead || after != 0 {
		t.Errorf("it is off by %v, then by %v, then by %v; want 0, %v, 0", before, during, after, ahead)
	}
}
