package redisconn_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// stand is a Redis that answers probes as the test says, without a network, so
// that a synctest bubble's clock can run.
type stand struct {
	answer atomic.Pointer[error]
	pings  atomic.Int64
}

func (s *stand) set(err error) { s.answer.Store(&err) }

func (s *stand) DialHook(next redis.DialHook) redis.DialHook { return next }
func (s *stand) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		s.pings.Add(1)
		cmd.SetErr(*s.answer.Load())
		return cmd.Err()
	}
}
func (s *stand) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// lines is a log that keeps its messages.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, r.Message)
	return nil
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.text)
}

// withHealth runs the test in a bubble whose clock jumps when all wait.
func withHealth(t *testing.T, test func(t *testing.T, h *redisconn.Health, s *stand, log *lines)) {
	synctest.Test(t, func(t *testing.T) {
		s, log := &stand{}, &lines{}
		s.set(nil)
		rdb, err := redisconn.Open("redis://nowhere:1")
		if err != nil {
			t.Fatal(err)
		}
		rdb.AddHook(s)
		h := redisconn.NewHealth(rdb, rediskeys.Namespace{}, slog.New(log))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.Run(ctx) })
		test(t, h, s, log)
		cancel()
		running.Wait()
		_ = rdb.Close()
	})
}

// pass lets time pass in the bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

var (
	errRefused = errors.New("connection refused")
	errReply   = redis.Nil
)

func TestHealthIsUpAtFirst(t *testing.T) {
	withHealth(t, func(t *testing.T, h *redisconn.Health, s *stand, log *lines) {
		pass(10 * time.Second)
		if !h.Up() || log.count() != 0 {
			t.Errorf("up: %v with %d lines in the log, want true and none", h.Up(), log.count())
		}
		if n := s.pings.Load(); n < 9 || n > 11 {
			t.Errorf("%d probes in 10 s, want one a second", n)
		}
	})
}

// TestHealthNoticesByItself: nobody uses Redis, and it goes away and comes back.
func TestHealthNoticesByItself(t *testing.T) {
	withHealth(t, func(t *testing.T, h *redisconn.Health, s *stand, log *lines) {
		for round := range 3 {
			s.set(errRefused)
			pass(1001 * time.Millisecond)
			if h.Up() {
				t.Fatal("still up more than a second after Redis went away")
			}
			pass(time.Minute)
			s.set(nil)
			pass(201 * time.Millisecond)
			if !h.Up() {
				t.Fatal("still down more than 200 ms after Redis came back")
			}
			if want := 2 * (round + 1); log.count() != want {
				t.Errorf("%d lines in the log after %d outages, want %d", log.count(), round+1, want)
			}
		}
	})
}

func TestHealthObserves(t *testing.T) {
	withHealth(t, func(t *testing.T, h *redisconn.Health, s *stand, log *lines) {
		for _, harmless := range []error{nil, errReply, context.Canceled} {
			h.Observe(harmless)
			if !h.Up() {
				t.Errorf("down after %v", harmless)
			}
		}
		s.set(errRefused)
		for range 100 {
			h.Observe(errRefused)
			if h.Up() {
				t.Fatal("up although a call failed")
			}
		}
		synctest.Wait()
		if log.count() != 1 {
			t.Errorf("%d lines in the log for one outage, want 1", log.count())
		}
		h.Observe(nil) // an answer that was under way says nothing about now
		if h.Up() {
			t.Error("up without a probe")
		}
	})
}

// TestHealthProbesAtOnce: the error of a single lost connection costs no 200 ms.
func TestHealthProbesAtOnce(t *testing.T) {
	withHealth(t, func(t *testing.T, h *redisconn.Health, s *stand, log *lines) {
		synctest.Wait()
		began := time.Now()
		h.Observe(errRefused)
		if h.Up() {
			t.Error("up although a call failed")
		}
		synctest.Wait()
		if !h.Up() || time.Since(began) != 0 {
			t.Errorf("up: %v after %v, want true at once", h.Up(), time.Since(began))
		}
	})
}
