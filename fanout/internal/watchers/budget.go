package watchers

import "time"

// The node bounds what it sends to the watchers of one app (protocol §4.3).
// Past the burst, its windows stay open until enough time has passed: changes
// gather, and cost less.
const (
	bytesPerSecond = 32 << 20
	burstBytes     = 128 << 20
	// perFrame is what a frame costs beside its bytes: it takes a write of its own.
	perFrame = 2 << 10
)

const (
	perByte = time.Second / bytesPerSecond
	burst   = burstBytes * perByte
)

// budget is when each app's bucket of bytes is full again. One that is full is not
// kept for long.
type budget map[string]time.Time

// owes is for how long the app is sent nothing.
func (b budget) owes(app string, now time.Time) time.Duration {
	full, ok := b[app]
	if !ok {
		return 0
	}
	if !full.After(now) {
		delete(b, app)
		return 0
	}
	return max(0, full.Sub(now)-burst)
}

func (b budget) spend(app string, bytes int, now time.Time) {
	if bytes == 0 {
		return
	}
	full := b[app]
	if full.Before(now) {
		full = now
	}
	b[app] = full.Add(time.Duration(bytes) * perByte)
}
