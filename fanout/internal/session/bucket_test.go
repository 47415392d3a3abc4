package session

import (
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"fleetwire/pkg/apps"
)

// bucket allows exactly the frames that rate.Limiter allows.
func TestBucketIsATokenBucket(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, limits := range []apps.Limits{
		{ConnectionMessagesPerSec: 1, ConnectionMessagesBurst: 1},
		{ConnectionMessagesPerSec: 10, ConnectionMessagesBurst: 5},
		{ConnectionMessagesPerSec: 100, ConnectionMessagesBurst: 200},
		{ConnectionMessagesPerSec: 1_000_000, ConnectionMessagesBurst: 1},
	} {
		var b bucket
		bucket := rate.NewLimiter(rate.Limit(limits.ConnectionMessagesPerSec), limits.ConnectionMessagesBurst)
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		perToken := time.Second / time.Duration(limits.ConnectionMessagesPerSec)
		allowed := 0
		for i := range 20_000 {
			// Half tokens, so that the two's rounding cannot matter.
			now = now.Add(perToken / 2 * time.Duration(random.IntN(4)))
			if random.IntN(1000) == 0 {
				now = now.Add(perToken * time.Duration(limits.ConnectionMessagesBurst+1))
			}
			want := bucket.AllowN(now, 1)
			if got := b.take(time.Duration(now.UnixNano()), &limits); got != want {
				t.Fatalf("%+v, frame %d: allowed %v, want %v", limits, i, got, want)
			}
			if want {
				allowed++
			}
		}
		if allowed == 0 || allowed == 20_000 {
			t.Errorf("%+v: %d frames allowed, which compares nothing", limits, allowed)
		}
	}
}

// The greatest limits that an app can have do not overflow.
func TestBucketAtTheBoundsOfLimits(t *testing.T) {
	const most = 1_000_000_000
	for _, limits := range []apps.Limits{
		{ConnectionMessagesPerSec: most, ConnectionMessagesBurst: most},
		{ConnectionMessagesPerSec: 1, ConnectionMessagesBurst: most},
	} {
		var b bucket
		for i := range 1000 {
			if !b.take(1767225600*time.Second, &limits) {
				t.Fatalf("%+v: frame %d was refused", limits, i)
			}
		}
	}
}
