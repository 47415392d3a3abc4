package receiver

import (
	"slices"
	"testing"
	"time"
)

// The first attempt comes at once, and so does the first behind a link that worked;
// links that break as soon as they are made are not made anew without end.
func TestBackoff(t *testing.T) {
	const ms = time.Millisecond
	var b backoff
	var pauses []time.Duration
	for _, lived := range []time.Duration{0, 0, 0, 0, 0, 0, 0, time.Hour, 0, 0, linkRetry + 1, linkRetry + 1, linkRetry} {
		pauses = append(pauses, b.next(lived))
	}
	want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1000 * ms, 1000 * ms, 0, 100 * ms, 200 * ms, 0, 0, 100 * ms}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses\n%v, want\n%v", pauses, want)
	}
}
