package goclient_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"fleetwire/clients/go/client"
)

// An ingester fails on an event, and another one ends without a word: nothing is lost, each
// channel is in order at first, and what comes again says so.
func TestGroup(t *testing.T) {
	s := newService(t, "")
	const channels, each = 5, 40
	cam := s.as(t, "cam")
	for n := range each {
		for c := range channels {
			cam.publish(fmt.Sprintf("devices/%d/telemetry", c), n)
		}
	}
	var mu sync.Mutex
	handled := map[string]int{} // channel and data → how often
	ctx, cancel := context.WithCancel(background(t))
	note := func(events []client.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			handled[e.Channel+" "+string(e.Data)]++
		}
		if len(handled) == channels*each {
			cancel()
		}
	}

	dying := s.as(t, "dying")
	took := make(chan bool)
	dead := make(chan error, 1)
	go func() {
		dead <- dying.Group(background(t), "ingest", func(context.Context, []client.Event) error {
			took <- true
			<-dying.Done() // it handles nothing
			return errors.New("dead")
		}, client.WithMaxInFlight(50))
	}()
	select {
	case <-took:
	case err := <-dead:
		t.Fatalf("the group ended at once: %v", err)
	}
	last := map[string]int{}
	failedOnce := false
	steady := make(chan error, 1)
	go func() {
		steady <- s.as(t, "steady").Group(ctx, "ingest", func(_ context.Context, events []client.Event) error {
			if !failedOnce {
				failedOnce = true
				return errors.New("not now")
			}
			for _, e := range events {
				var n int
				if _, err := fmt.Sscan(string(e.Data), &n); err != nil {
					t.Errorf("data %s", e.Data)
				}
				if e.Attempt == 1 && n <= last[e.Channel] && n > 0 {
					t.Errorf("%d of %s came after %d", n, e.Channel, last[e.Channel])
				}
				last[e.Channel] = max(last[e.Channel], n)
			}
			note(events)
			return nil
		}, client.WithMaxInFlight(1000))
	}()
	dying.Close()
	if err := <-steady; !errors.Is(err, context.Canceled) {
		t.Errorf("the group ended with %v", err)
	}
	<-dead
	mu.Lock()
	defer mu.Unlock()
	if len(handled) != channels*each {
		t.Errorf("%d of %d events were handled", len(handled), channels*each)
	}
}
