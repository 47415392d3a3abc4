package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

const (
	// A publish must be refused within atOnce when Redis has gone, and what was
	// subscribed must be live within recovery when it is back.
	atOnce   = 2 * time.Second
	recovery = 2 * time.Second
)

// When Redis goes away sockets stay open, publishes are refused at once, new
// connections are turned back with 1013 and /readyz says why not; when it is
// back, everything subscribed is live again without anybody doing anything.
func TestRedisGoesAway(t *testing.T) {
	for _, c := range []struct {
		name       string
		away, back func(*redistest.Server)
	}{
		{"crashed, and restarted empty", (*redistest.Server).Stop, (*redistest.Server).Restart},
		{"hung, and goes on", (*redistest.Server).Freeze, (*redistest.Server).Thaw},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := newKey("outage", "**")
			s := startTwoNodes(t, newApp("app_outage", key))
			named := s.first().connect(t, key.token("named", nil)).subscribe("a", "b")
			wild := s.last().connect(t, key.token("wild", nil)).subscribe("*")
			sender := s.last().connect(t, key.token("sender", nil))
			sender.publish("a", `"before"`)
			named.expectMessage("a", "sender", `"before"`)
			wild.expectMessage("a", "sender", `"before"`)

			c.away(s.redis)
			// The first to notice, and those that come while it waits: by socket and
			// by REST, on both nodes.
			refusedAtOnce(t, s, key, sender)
			for _, n := range s.nodes {
				var why string
				eventually(t, "/readyz is 503", patience, func() (away bool) {
					var status int
					status, why = n.ready()
					return status == http.StatusServiceUnavailable
				})
				if !strings.Contains(why, "redis") {
					t.Errorf("/readyz says %q", why)
				}
				begin := time.Now()
				n.refused(t, "token="+key.token("new", nil), 1013)
				if took := time.Since(begin); took > atOnce {
					t.Errorf("a new connection was refused after %v", took)
				}
			}
			refusedAtOnce(t, s, key, sender)
			for _, d := range []*socket{named, wild, sender} {
				d.alive()
			}
			named.expectError(named.request(`"type":"subscribe","channel":"c"`), "backend_error")
			named.unsubscribe("b")

			c.back(s.redis)
			since := time.Now()
			for _, n := range s.nodes {
				n.awaitReady(recovery - time.Since(since))
			}
			if n := s.last().publish(t, key, "a", `"after"`); n != 1 {
				t.Errorf("subscribers: %d, want 1", n)
			}
			named.expectAfterOutage(message("a", "server", `"after"`))
			wild.expectAfterOutage(message("a", "server", `"after"`))
			if took := time.Since(since); took > recovery {
				t.Errorf("delivered again %v after Redis was back, want within %v", took, recovery)
			}
			named.subscribe("c")
			sender.publish("b", `"left meanwhile"`)
			sender.publish("c", `"joined after"`)
			named.expectMessage("c", "sender", `"joined after"`)
			s.first().connect(t, key.token("new", nil)).alive()
		})
	}
}

// refusedAtOnce publishes again and again for a while, by socket and by REST on
// both nodes, and wants each publish refused in time.
func refusedAtOnce(t *testing.T, s *system, key *keyDoc, sender *socket) {
	t.Helper()
	const tries = 4
	restErrors := make(chan error, tries*len(s.nodes))
	again := time.NewTicker(150 * time.Millisecond)
	defer again.Stop()
	var sent []time.Time
	answered := make(chan error, 1)
	times := make(chan time.Time, tries)
	go func() { // the answers come in the order of the frames
		for i := range tries {
			frame, err := sender.read()
			if err != nil {
				answered <- err
				return
			}
			if !strings.HasPrefix(frame, fmt.Sprintf(`{"type":"error","requestId":"away-%d","code":"backend_error","message":"`, i)) {
				answered <- errors.New("not a backend_error: " + frame)
				return
			}
			times <- time.Now()
		}
		answered <- nil
	}()
	for i := range tries {
		sent = append(sent, time.Now())
		sender.send(fmt.Sprintf(`{"type":"publish","requestId":"away-%d","channel":"a","data":"while away"}`, i))
		for _, n := range s.nodes {
			go func() {
				begin := time.Now()
				a, err := n.call("POST", "/v1/channels/a/publish", key.credential(), `{"data":"while away"}`)
				took := time.Since(begin)
				switch {
				case err == nil && (a.status != 503 || !strings.HasPrefix(a.body, `{"error":"backend_error","message":"`)):
					err = fmt.Errorf("REST: %d %s", a.status, a.body)
				case err == nil && took > atOnce:
					err = fmt.Errorf("REST: refused after %v, want within %v", took, atOnce)
				}
				restErrors <- err
			}()
		}
		<-again.C
	}
	for range cap(restErrors) {
		if err := <-restErrors; err != nil {
			t.Error(err)
		}
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	for i := range tries {
		if took := (<-times).Sub(sent[i]); took > atOnce {
			t.Errorf("publish %d was refused after %v, want within %v", i, took, atOnce)
		}
	}
}

// expectAfterOutage is expect, but for messages that were published during the
// outage: a Redis that hangs may do what it was told when it goes on, long after
// the node had to call it lost.
func (s *socket) expectAfterOutage(frame string) {
	s.t.Helper()
	for {
		switch got := s.next(); {
		case got == frame:
			return
		case !strings.Contains(got, `"while away"`):
			s.t.Fatalf("got %s, want %s", got, frame)
		}
	}
}

// A fleet that is cut off and comes back all at once while Redis is away is
// turned back, and let in when Redis answers.
func TestConnectsWhileRedisIsAway(t *testing.T) {
	key := newKey("back", "**")
	s := startTwoNodes(t, newApp("app_back", key))
	s.first().connect(t, key.token("camera", nil))
	s.redis.Stop()
	each(t, 100, func(i int) error {
		_, err := s.nodes[i%2].tryEnter(t, "token="+key.token("camera", nil))
		var closed closedError
		if !errors.As(err, &closed) || closed.code != 1013 || closed.reason == "" {
			return fmt.Errorf("not closed with 1013: %v", err)
		}
		return nil
	})
	s.redis.Restart()
	for _, n := range s.nodes {
		n.awaitReady(recovery)
	}
	each(t, 100, func(i int) error {
		_, err := s.nodes[i%2].tryEnter(t, "token="+key.token("camera", nil))
		return err
	})
}
