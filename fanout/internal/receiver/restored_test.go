package receiver_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// Who keeps a copy of what is announced hears when announcements may have been
// lost: each time the link is back, when everything comes in again.
func TestRestored(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	log := slog.New(slog.DiscardHandler)
	r := receiver.New(receiver.Options{Redis: rdb, Health: redisconn.NewHealth(log), Log: log, Node: "node"})
	var restored, early atomic.Int32
	r.OnRestored(func() {
		restored.Add(1)
		if !r.Live() {
			early.Add(1)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, func(batch []envelope.Delivery) int { return len(batch) })
	}()
	defer func() { cancel(); <-ended }()
	redistest.Eventually(t, gone, "the node is live", r.Live)
	for i := range 3 {
		done := make(chan error, 1)
		if err := r.SetWatchers("app", fmt.Sprint("c", i), 1, func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n := restored.Load(); n != 0 {
		t.Errorf("called %d times, though nothing was lost", n)
	}
	for i := range int32(2) {
		server.Restart()
		redistest.Eventually(t, gone, "it is called", func() bool { return restored.Load() == i+1 })
		if early.Load() > 0 {
			t.Error("called before everything was subscribed again")
		}
	}
}
