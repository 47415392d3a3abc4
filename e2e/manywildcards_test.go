package e2e

import (
	"fmt"
	"testing"
)

// More patterns than a node has globs for in Redis: each still gets its own
// messages, all of them, once, and none of anybody else's.
func TestManyWildcards(t *testing.T) {
	const patterns = 80 // a connection can have 100
	key, other := newKey("many", "**"), newKey("many_other", "**")
	onEachRedis(t, []*appDoc{newApp("app_many", key), newApp("app_many_other", other)}, func(t *testing.T, s *system) {
		ear := s.first().connect(t, key.token("ear", nil))
		for i := range patterns {
			ear.subscribe(fmt.Sprintf("devices/%d/*", i))
		}
		for i := range patterns {
			s.last().publish(t, other, fmt.Sprintf("devices/%d/events", i), "0")
			s.last().publish(t, key, fmt.Sprintf("elsewhere/%d/events", i), "0")
			s.last().publish(t, key, fmt.Sprintf("devices/%d/events", i), fmt.Sprint(i))
			ear.expectMessage(fmt.Sprintf("devices/%d/events", i), "server", fmt.Sprint(i))
		}
	})
}
