package watchers

import (
	"time"

	"fleetwire/pkg/presence"
)

// The node bounds what it sends to the watchers of one app (protocol §4.3).
// Past the burst, its windows stay open until enough time has passed: changes
// gather, and cost less. The members that the node reads from Redis for them have a
// bucket of their own, of the same size: a connection that watches a large channel
// again and again makes the node read it each time.
const (
	bytesPerSecond = 32 << 20
	burstBytes     = 128 << 20
	// perFrame is what a frame costs beside its bytes: it takes a write of its own.
	perFrame = 2 << 10
	// perRead is what a member that is read costs beside its bytes.
	perRead = 1 << 10
)

const (
	perByte = time.Second / bytesPerSecond
	burst   = burstBytes * perByte
)

// budget is when each app's bucket of bytes is full again. One that is full is not
// kept for long.
type budget map[string]time.Time

// owes is how long the app must wait until the node sends, or reads, more for it.
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

// readBytes is what reading a channel costs.
func readBytes(s *presence.State) (bytes int) {
	for _, m := range s.Members {
		bytes += perRead + len(m.Peer) + len(m.Metadata)
	}
	return bytes
}
