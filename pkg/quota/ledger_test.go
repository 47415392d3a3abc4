package quota

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

func TestStoppedNodeGivesBack(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		app := appWith(5)
		one, other := startLedger(t, client(), "one"), startLedger(t, client(), "other")
		if got := one.take(app, 5); got != 5 {
			t.Fatalf("%d granted, want 5", got)
		}
		one.stop()
		if got := other.take(app, 5); got != 5 {
			t.Errorf("%d granted after the other node stopped, want 5", got)
		}
		one.release(app, 5) // its connections end later
		if got := counted(t, other.redis, app); got != 5 {
			t.Errorf("Redis counts %d, want 5", got)
		}
	})
}

func TestAcquireAfterTheEnd(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	l := startLedger(t, rdb, "node")
	l.stop()
	if err := l.acquire(appWith(5)); err == nil || errors.Is(err, ErrConnectionLimit) {
		t.Errorf("Acquire after Run ended: %v, want an error of its own", err)
	}
}

// TestEndWhileAcquiring: some are asked for, some wait to be.
func TestEndWhileAcquiring(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := onWire(rdb)
	l := startLedger(t, rdb, "node")
	app := appWith(5)
	l.take(appWith(0), 1) // it has begun
	release := w.hold(t)
	answers := make(chan error, 4)
	acquire := func() { answers <- l.acquire(app) }
	go acquire()
	<-w.held
	for range 3 {
		go acquire()
	}
	redistest.Eventually(t, patience, "three wait for the next call", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		s := l.shares[app.ID]                  // none yet, if a look at the epoch is held
		return s != nil && len(s.waiting) >= 3 // 4, if it is
	})
	stopped := make(chan struct{})
	go func() {
		l.stop()
		close(stopped)
	}()
	release()
	for range 4 {
		select {
		case err := <-answers:
			if errors.Is(err, ErrConnectionLimit) {
				t.Errorf("Acquire at the end: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("an Acquire is left waiting")
		}
	}
	<-stopped
	if got := counted(t, rdb, app); got != 0 {
		t.Errorf("Redis counts %d after the end, want 0", got)
	}
}

// TestLostAnswer: Redis grants, and the node never hears of it.
func TestLostAnswer(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := onWire(rdb)
	l := startLedger(t, rdb, "node")
	app := appWith(5)
	if got := l.take(app, 2); got != 2 {
		t.Fatalf("%d granted, want 2", got)
	}
	lost := errors.New("lost")
	w.lose(lost)
	if err := l.acquire(app); !errors.Is(err, lost) {
		t.Errorf("Acquire: %v, want the error", err)
	}
	w.lose(nil)
	if got := l.take(app, 5); got != 3 {
		t.Errorf("%d granted, want 3: what was lost is not held", got)
	}
	if got := counted(t, rdb, app); got != 5 {
		t.Errorf("Redis counts %d, want 5", got)
	}
}

// TestLedgerOutage: without Redis an Acquire fails, but not for the cap; a Redis
// that comes back empty learns from the node what it holds.
func TestLedgerOutage(t *testing.T) {
	server := redistest.Start(t)
	app := appWith(5)
	l := startLedger(t, server.Client(), "node")
	if got := l.take(app, 3); got != 3 {
		t.Fatalf("%d granted, want 3", got)
	}
	server.Stop()
	err := l.acquire(app)
	if err == nil || errors.Is(err, ErrConnectionLimit) || !redisconn.Unreachable(err) {
		t.Errorf("Acquire without Redis: %v, want that it is unreachable", err)
	}
	server.Restart()
	granted := 0
	for granted < 2 {
		redistest.Eventually(t, patience, "connections are granted again", func() bool {
			return l.acquire(app) == nil
		})
		granted++
	}
	if got := l.take(app, 5); got != 0 {
		t.Errorf("%d granted over the cap after Redis came back empty", got)
	}
	if got := counted(t, server.Client(), app); got != 5 {
		t.Errorf("Redis counts %d, want 5", got)
	}
}
