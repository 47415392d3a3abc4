package e2e

import (
	"fmt"
	"testing"
)

// Of a peer's connections on two nodes the one gets a command that subscribed last, whichever
// node claims first: so a device that has come back on another node does not lose commands to
// the connection that it had.
func TestLastSubscriberOnTwoNodes(t *testing.T) {
	key := newKey("last", "**")
	s := startTwoNodes(t, newApp("app_last", key))
	n := 0
	goesTo := func(want *socket, others ...*socket) {
		t.Helper()
		for range 10 {
			for _, ttl := range []string{"", `,"ttlMs":60000`} {
				n++
				data := fmt.Sprint(n)
				c := s.nodes[n%2].command(t, key, hall, data, `,"waitMs":0`+ttl)
				want.expectCommand(hall, data, c.ID, 1, ttl != "")
				want.answers(c.ID, "")
			}
		}
		for _, other := range others {
			other.alive()
		}
	}
	one := s.first().connect(t, key.token("hall", nil)).subscribe(hall)
	goesTo(one)
	two := s.last().connect(t, key.token("hall", nil)).subscribe(hall)
	goesTo(two, one)
	three := s.first().connect(t, key.token("hall", nil)).subscribe(hall)
	goesTo(three, one, two)
	three.unsubscribe(hall)
	one.unsubscribe(hall)
	goesTo(two, one, three)
}
