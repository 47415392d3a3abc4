package redistest

import (
	"sync"
	"testing"
	"time"
)

// Eventually asks done again and again, and ends the test when within has
// passed without a yes. want says what was waited for. A busy machine has longer (Budget).
func Eventually(t testing.TB, within time.Duration, want string, done func() bool) {
	t.Helper()
	NewBudget(within).Await(t, want, done)
}

// Budget is the time that several things have to happen in, one after the other. It is measured by
// how the machine keeps up: while a timer of a few milliseconds comes late by some factor, because
// other processes have the processors, time counts for less by that factor. So a bound holds on a
// machine that is free, and no test fails because the machine stands still.
type Budget struct{ whole, left time.Duration }

// NewBudget is a budget of so long.
func NewBudget(d time.Duration) *Budget { return &Budget{whole: d, left: d} }

// look is the pause between two looks.
const look = 2 * time.Millisecond

// Await is Eventually within what is left of the budget.
func (b *Budget) Await(t testing.TB, want string, done func() bool) {
	t.Helper()
	for {
		began := time.Now()
		if done() {
			b.left -= time.Since(began)
			return
		}
		if b.left <= 0 {
			t.Fatalf("not within %v: %s", b.whole, want)
		}
		asked := time.Now()
		woken := make(chan struct{})
		time.AfterFunc(look, func() { close(woken) })
		<-woken
		paused := time.Since(asked)
		b.left -= time.Duration(float64(asked.Sub(began)+paused) / slowness(paused))
	}
}

// slowness is by what factor the machine is late when a look has taken so long to come.
func slowness(paused time.Duration) float64 {
	return max(1, float64(paused)/float64(look+look/2))
}

// Stopwatch measures time as a Budget does.
type Stopwatch struct {
	stop, stopped chan struct{}

	mu      sync.Mutex
	counted time.Duration // until:
	asked   time.Time     // when the last look was asked for
}

// NewStopwatch runs from now on until the test ends.
func NewStopwatch(t testing.TB) *Stopwatch {
	s := startStopwatch()
	t.Cleanup(s.end)
	return s
}

// Took is how long f takes.
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
			case <-time.After(look):
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

// sinceAsked is what the time since the last look counts. It is called with s.mu held.
func (s *Stopwatch) sinceAsked() time.Duration {
	paused := time.Since(s.asked)
	return time.Duration(float64(paused) / slowness(paused))
}

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
