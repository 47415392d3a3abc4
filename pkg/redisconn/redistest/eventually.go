package redistest

import (
	"testing"
	"time"
)

// Eventually asks done again and again, and ends the test when within has
// passed without a yes. want says what was waited for.
func Eventually(t testing.TB, within time.Duration, want string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, want)
		}
	}
}
