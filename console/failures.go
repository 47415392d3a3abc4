package console

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	maxFailures  = 10   // failed sign-ins of an address in a window
	maxAddresses = 4096 // addresses that are counted in a window
	maxLogged    = 20   // failures of a window that are logged
	window       = time.Minute
)

// failures counts the failed sign-ins of the minute that runs. It remembers a bounded number of
// addresses. Those that fail after them in the same minute are not counted, so that somebody who has
// many addresses can keep nobody else from signing in.
type failures struct {
	mu               sync.Mutex
	begin            time.Time
	of               map[string]int
	logged, unlogged int
}

// wait is how long an address must wait before it may try again; 0: it may now.
func (f *failures) wait(address string, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roll(now)
	if f.of[address] < maxFailures {
		return 0
	}
	return f.begin.Add(window).Sub(now)
}

// count counts a failure. tell says whether to log it, and untold how many before it were not logged.
func (f *failures) count(address string, now time.Time) (tell bool, unlogged int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roll(now)
	if _, known := f.of[address]; known || len(f.of) < maxAddresses {
		f.of[address]++
	}
	if f.logged == maxLogged {
		f.unlogged++
		return false, 0
	}
	f.logged++
	unlogged, f.unlogged = f.unlogged, 0
	return true, unlogged
}

// roll begins another window when one has ended.
func (f *failures) roll(now time.Time) {
	if f.of != nil && now.Sub(f.begin) < window {
		return
	}
	f.begin, f.of, f.logged = now, map[string]int{}, 0
}

// setRetryAfter is in whole seconds, rounded up.
func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
}
