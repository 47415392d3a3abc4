package node

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/protocol"
)

// leaving is a connection that notes when it is told to go and when it is closed.
type leaving struct {
	telling           time.Duration // how long it takes to tell it
	announced, closed time.Duration // since the beginning
	retryAfter        time.Duration
	code              protocol.CloseCode
	began             time.Time
	closes            int
}

func (l *leaving) GoAway(retryAfter time.Duration) {
	l.announced, l.retryAfter = time.Since(l.began), retryAfter
	time.Sleep(l.telling)
}

func (l *leaving) Close(why *protocol.CloseError) bool {
	l.closed, l.code = time.Since(l.began), why.Code
	l.closes++
	return true
}

// A peer that counts retryAfterMs from its frame comes back after its connection was
// closed, however few there are and however long the drain is, and soon after.
func TestNobodyIsToldToBeBackBeforeItIsClosed(t *testing.T) {
	for _, over := range []time.Duration{0, 10 * time.Millisecond, time.Second, DefaultDrain, 3 * time.Minute} {
		for _, n := range []int{0, 1, 2, 3, 50, 5000} {
			synctest.Test(t, func(t *testing.T) {
				all := make([]*leaving, n)
				for i := range all {
					all[i] = &leaving{began: time.Now()}
				}
				began := time.Now()
				drainAll(all, over, time.Sleep)
				if took := time.Since(began); n > 0 && took != over {
					t.Errorf("%d over %v took %v", n, over, took)
				}
				var backs []time.Duration
				for i, l := range all {
					if want := over * time.Duration(i+1) / time.Duration(n); l.closed != want {
						t.Fatalf("%d over %v: number %d is closed at %v, want %v", n, over, i, l.closed, want)
					}
					back := l.announced + l.retryAfter
					if gap := back - l.closed; gap < minRetryAfter || gap > minRetryAfter+retrySpread {
						t.Fatalf("%d over %v: number %d is closed at %v and back at %v", n, over, i, l.closed, back)
					}
					if l.code != protocol.CloseGoingAway || l.closes != 1 {
						t.Fatalf("number %d is closed %d times, with %d", i, l.closes, l.code)
					}
					backs = append(backs, back)
				}
				if !slices.IsSorted(backs) || len(slices.Compact(backs)) != n {
					t.Errorf("%d over %v: they are to be back at the same time", n, over)
				}
			})
		}
	}
}

// Telling a large fleet takes a while, in which the peers' time runs already.
func TestSlowTellingDoesNotPutPeersOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, over = 1000, 10 * time.Second
		all := make([]*leaving, n)
		for i := range all {
			all[i] = &leaving{began: time.Now(), telling: 500 * time.Microsecond}
		}
		began := time.Now()
		drainAll(all, over, time.Sleep)
		if took := time.Since(began); took != over {
			t.Errorf("it took %v, want %v", took, over)
		}
		for i, l := range all {
			if back := l.announced + l.retryAfter; back <= l.closed || back > over+minRetryAfter+retrySpread {
				t.Fatalf("number %d is closed at %v and back at %v", i, l.closed, back)
			}
		}
	})
}
