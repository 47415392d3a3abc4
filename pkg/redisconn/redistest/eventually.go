package redistest

import (
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

// Took is how long f takes, measured as a Budget is.
func Took(f func()) (took time.Duration) {
	done, counted := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(counted)
		for ended := false; !ended; {
			asked := time.Now()
			select {
			case <-time.After(look):
			case <-done:
				ended = true
			}
			paused := time.Since(asked)
			took += time.Duration(float64(paused) / slowness(paused))
		}
	}()
	f()
	close(done)
	<-counted
	return took
}
