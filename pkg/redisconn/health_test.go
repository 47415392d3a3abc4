package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
)

// stand is a Redis that answers probes as the test says, without a network, so
// that a synctest bubble's clock can run.
type stand struct {
	answer atomic.Pointer[error]
	probes atomic.Int64
	breaks atomic.Int64 // as many probes find a broken connection first
}

func (s *stand) set(err error) { s.answer.Store(&err) }

func (s *stand) probe(context.Context) error {
	s.probes.Add(1)
	if s.breaks.Add(-1) >= 0 {
		return io.EOF
	}
	return *s.answer.Load()
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
		h := redisconn.NewHealth(slog.New(log))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.Run(ctx, s.probe) })
		test(t, h, s, log)
		cancel()
		running.Wait()
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
		if n := s.probes.Load(); n < 19 || n > 21 {
			t.Errorf("%d probes in 10 s, want two a second", n)
		}
	})
}

// TestHealthNoticesByItself: nobody uses Redis, and it goes away and comes back.
func TestHealthNoticesByItself(t *testing.T) {
	withHealth(t, func(t *testing.T, h *redisconn.Health, s *stand, log *lines) {
		for round := range 3 {
			s.set(errRefused)
			pass(501 * time.Millisecond)
			if h.Up() {
				t.Fatal("still up more than half a second after Redis went away")
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
		synctest.Wait() // the probe may have answered before Observe returns
		if log.count() != 2 {
			t.Errorf("%d lines in the log, want one that Redis is away and one that it is back: %q", log.count(), log.text)
		}
		if !h.Up() || time.Since(began) != 0 {
			t.Errorf("up: %v after %v, want true at once", h.Up(), time.Since(began))
		}
	})
}

// replies are what Redis says as a whole, and what it says to one odd request.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// TestHealthNamesTheCause: the log says it once when it begins and once when it
// ends, also when the cause changes meanwhile.
func TestHealthNamesTheCause(t *testing.T) {
	withHealth(t, func(t *testing.T, h *redisconn.Health, s *stand, log *lines) {
		if why := h.Trouble(); why != "" {
			t.Errorf("trouble while Redis works: %q", why)
		}
		for _, c := range []struct {
			err  error
			want string
		}{
			{reply("OOM command not allowed"), "redis refuses: OOM command not allowed"},
			{errRefused, "redis does not answer: connection refused"},
			{&redisconn.Refused{Words: "ERR max number of clients reached"}, "redis refuses: ERR max number of clients reached"},
		} {
			s.set(c.err)
			pass(501 * time.Millisecond)
			if got := h.Trouble(); got != c.want || h.Up() {
				t.Errorf("trouble %q, up %v; want %q", got, h.Up(), c.want)
			}
		}
		s.set(nil)
		pass(201 * time.Millisecond)
		if why := h.Trouble(); why != "" || !h.Up() {
			t.Errorf("trouble %q after Redis works again, up %v", why, h.Up())
		}
		if log.count() != 2 {
			t.Errorf("%d lines in the log for one outage, want 2: %q", log.count(), log.text)
		}
	})
}

// TestHealthLeavesItToTheProbe: an error reply to one caller is no outage, however
// many there are; and they do not make probes without end.
func TestHealthLeavesItToTheProbe(t *testing.T) {
	withHealth(t, func(t *testing.T, h *redisconn.Health, s *stand, log *lines) {
		synctest.Wait()
		before := s.probes.Load()
		for range 100 {
			h.Observe(reply("WRONGTYPE Operation against a key holding the wrong kind of value"))
			pass(time.Millisecond)
		}
		if n := s.probes.Load() - before; !h.Up() || log.count() != 0 || n > 3 {
			t.Errorf("up %v with %d lines in the log after %d probes in 100 ms; want up, no lines, 3 probes at most", h.Up(), log.count(), n)
		}
		// A refusal that concerns all is found at once.
		pass(150 * time.Millisecond)
		s.set(reply("OOM command not allowed"))
		h.Observe(reply("OOM command not allowed"))
		synctest.Wait()
		if h.Up() {
			t.Error("up although a probe was refused")
		}
	})
}

// TestHealthSurvivesABrokenConnection: connections that broke say nothing about the next
// one, whether it was a caller's or the probe's.
func TestHealthSurvivesABrokenConnection(t *testing.T) {
	withHealth(t, func(t *testing.T, h *redisconn.Health, s *stand, log *lines) {
		pass(150 * time.Millisecond)
		s.breaks.Store(5) // of the connections that the client keeps
		h.Observe(fmt.Errorf("read: %w", io.EOF))
		if !h.Up() {
			t.Error("down although only a connection broke")
		}
		synctest.Wait()
		if !h.Up() || log.count() != 0 {
			t.Errorf("up %v with %d lines in the log, though a later probe succeeded", h.Up(), log.count())
		}
		pass(150 * time.Millisecond)
		s.set(errRefused)
		h.Observe(io.EOF)
		synctest.Wait()
		if h.Up() {
			t.Error("up although the probe failed, too")
		}
	})
}
