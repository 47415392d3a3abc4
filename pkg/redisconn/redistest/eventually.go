package redistest

import (
	"sync"
	"testing"
	"time"
)

// Eventually asks done again and again, and ends the test when within has passed without a yes.
// want says what was waited for. A busy machine has longer (Stopwatch).
func Eventually(t testing.TB, within time.Duration, want string, done func() bool) {
	t.Helper()
	NewBudget(within).Await(t, want, done)
}

// Budget is the time that several events have to happen in, one after the other, by a Stopwatch
// that runs while a test awaits them.
type Budget struct{ whole, left time.Duration }

// NewBudget returns a budget of d.
func NewBudget(d time.Duration) *Budget { return &Budget{whole: d, left: d} }

// Await is Eventually within what is left of the budget.
func (b *Budget) Await(t testing.TB, want string, done func() bool) {
	t.Helper()
	watch := startStopwatch()
	defer func() { b.left -= watch.Elapsed(); watch.end() }()
	for !done() {
		if watch.Elapsed() >= b.left {
			t.Fatalf("not within %v: %s", b.whole, want)
		}
		<-time.After(tick)
	}
}

const (
	// tick is how often a Stopwatch looks whether the machine keeps up.
	tick = 2 * time.Millisecond
	// mostOfATick is how much time a Stopwatch counts from one tick to the next at most.
	mostOfATick = 3 * time.Millisecond
)

// Stopwatch measures the time for which the machine keeps up. A tick that comes late, because
// other processes have the processors, counts no more than one that comes nearly in time. So a bound
// holds on a machine that is free, and no test fails because the machine stands still.
type Stopwatch struct {
	stop, stopped chan struct{}

	mu      sync.Mutex
	counted time.Duration // until:
	asked   time.Time     // when the last tick was asked for
}

// NewStopwatch returns a stopwatch that runs from now on until the test ends.
func NewStopwatch(t testing.TB) *Stopwatch {
	s := startStopwatch()
	t.Cleanup(s.end)
	return s
}

// Took returns how long f takes, by a Stopwatch.
func Took(f func()) time.Duration {
	s := startStopwatch()
	defer s.end()
	f()
	return s.Elapsed()
}

func startStopwatch() *Stopwatch {
	s := &Stopwatch{stop: make(chan struct{}), stopped: make(chan struct{}), asked: time.Now()}
	go func() {
		defer close(s.stopped)
		for {
			select {
			case <-time.After(tick):
			case <-s.stop:
				return
			}
			s.mu.Lock()
			s.counted += s.sinceAsked()
			s.asked = time.Now()
			s.mu.Unlock()
		}
	}()
	return s
}

// sinceAsked is what counts of the time since the last tick was asked for. It is called with s.mu held.
func (s *Stopwatch) sinceAsked() time.Duration { return min(time.Since(s.asked), mostOfATick) }

// Elapsed is how long it has run.
func (s *Stopwatch) Elapsed() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counted + s.sinceAsked()
}

func (s *Stopwatch) end() {
	close(s.stop)
	<-s.stopped
}
