package publish

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fleetwire/pkg/apps"
)

// calm is a Sender that the tests below never make pause.
type calm struct{ t *testing.T }

func (c calm) Pause()  { c.t.Error("a connection was paused") }
func (c calm) Resume() { c.t.Error("a connection was resumed") }

// from is the message of a connection.
func from(sender Sender, connection uint64, a *apps.App, data string) Message {
	m := message(a, data)
	m.Sender, m.Connection = sender, connection
	return m
}

// TestConnectionsTakeTurns: a message waits behind one of each other connection, not
// behind all that another has sent; and each connection's stay in order.
func TestConnectionsTakeTurns(t *testing.T) {
	for name, test := range map[string]struct {
		flood int
		want  string // the begin of the round trip
	}{
		"a few messages": {longLine - 1, "1 q1 r1 2 q2 3 4"},
		"a long line":    {2 * maxBatchMessages, "1 2 3 4"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStanding()
			gate := s.hold()
			a := app("app", 1e6)
			c := expect(1 + test.flood + 3)
			s.submit(t, message(a, "0"), c.of(""))
			<-s.sender.began
			flood := newPausable() // it does not obey
			for i := range test.flood {
				s.submit(t, from(flood, 1, a, fmt.Sprint(i+1)), c.of(""))
			}
			s.submit(t, from(calm{t}, 2, a, "q1"), c.of(""))
			s.submit(t, from(calm{t}, 3, a, "r1"), c.of(""))
			s.submit(t, from(calm{t}, 2, a, "q2"), c.of(""))
			close(gate)
			c.wait(t)
			first := s.sender.data(1)
			if got := strings.Join(first, " "); !strings.HasPrefix(got+" ", test.want+" ") {
				t.Errorf("the round trip begins with %.40s, want %s", got, test.want)
			}
			for _, quiet := range []string{"q1", "r1", "q2"} {
				if !slices.Contains(first, quiet) {
					t.Errorf("%s is not in the next round trip", quiet)
				}
			}
			next := 1
			for i := 1; i < s.sender.callCount(); i++ {
				for _, got := range s.sender.data(i) {
					if n, err := strconv.Atoi(got); err == nil && n != next {
						t.Fatalf("message %d comes in place of %d", n, next)
					} else if err == nil {
						next++
					}
				}
			}
		})
	}
}

// TestRESTGoesAhead of what connections have sent, but leaves them half of a round trip.
func TestRESTGoesAhead(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	a := app("app", 1e6)
	const each = 2 * maxBatchMessages
	c := expect(1 + 2*each)
	s.submit(t, message(a, "0"), c.of(""))
	<-s.sender.began
	flood := newPausable()
	for range each {
		s.submit(t, from(flood, 1, a, `"socket"`), c.of(""))
	}
	for range each {
		s.submit(t, message(a, `"rest"`), c.of(""))
	}
	close(gate)
	c.wait(t)
	got := s.sender.data(1)
	if len(got) != maxBatchMessages || slices.Index(got, `"socket"`) != maxBatchMessages/2 || slices.Contains(got[maxBatchMessages/2:], `"rest"`) {
		t.Errorf("a round trip has %d messages, the first of a connection at %d", len(got), slices.Index(got, `"socket"`))
	}
	if got := s.sender.data(4); slices.Contains(got[:maxBatchMessages/2], `"socket"`) {
		t.Error("connections have more than the half while REST waits")
	}
}

// TestQueueForgetsConnections: what a burst of connections takes is given back.
func TestQueueForgetsConnections(t *testing.T) {
	s := newStanding()
	a := app("app", 1e6)
	gate := s.hold()
	const connections = 3 * maxSpareLines
	c := expect(1 + connections)
	s.submit(t, message(a, "0"), c.of(""))
	<-s.sender.began
	sender := newPausable()
	for i := range uint64(connections) {
		s.submit(t, from(sender, 1+i, a, "1"), c.of(""))
	}
	close(gate)
	c.wait(t)
	s.Publish(context.Background(), message(a, "2")) // behind everything
	s.Service.mu.Lock()
	defer s.Service.mu.Unlock()
	if q := &s.waiting; len(q.lines) != 0 || q.free != nil || q.spare != 0 || q.first != nil {
		t.Errorf("%d connections have a line, and %d lines are kept", len(q.lines), q.spare)
	}
}
