package redistest

import (
	"testing"
	"testing/synctest"
	"time"
)

// On a machine that keeps up, a stopwatch and a budget measure the time that passes.
func TestStopwatchOfAMachineThatKeepsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := NewStopwatch(t)
		if took := Took(func() { time.Sleep(time.Second) }); took != time.Second || watch.Elapsed() != time.Second {
			t.Errorf("a second took %v, and %v", took, watch.Elapsed())
		}
		left := NewBudget(time.Minute)
		for range 2 {
			began := time.Now()
			left.Await(t, "ten seconds have passed", func() bool { return time.Since(began) >= 10*time.Second })
		}
		if left.left != 40*time.Second {
			t.Errorf("%v are left of a minute after 20 s", left.left)
		}
	})
}

// A tick that comes late counts as one that comes nearly in time.
func TestStopwatchOfABusyMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &Stopwatch{asked: time.Now()} // which gets no tick
		time.Sleep(time.Millisecond)
		if got := watch.Elapsed(); got != time.Millisecond {
			t.Errorf("%v after 1ms", got)
		}
		time.Sleep(time.Hour)
		if got := watch.Elapsed(); got != mostOfATick {
			t.Errorf("an hour in which the machine stood still counts %v, want %v", got, mostOfATick)
		}
	})
}
