// Package receivertest is the conformance suite of publishing (pkg/publish/send) and
// receiving (fanout/internal/receiver): what their package docs promise, as tests
// that hold for every Redis that Fleetwire runs on.
package receivertest

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Setup is one empty Redis, and how to put nodes on it.
type Setup struct {
	// Redis looks into it. No node uses this client.
	Redis redis.UniversalClient
	// Client opens a node's own client; it is closed with the test.
	Client func() redis.UniversalClient
	// Elapse makes every key expire whose time to live is at most d, as if d had
	// passed for Redis. The nodes' own clocks do not move.
	Elapse func(d time.Duration)
}

// Run runs the suite. start makes a Setup for one test.
func Run(t *testing.T, start func(t *testing.T) Setup) {
	run(t, start, (*testing.T).Parallel)
}

// RunSerially is Run for Setups that share a Redis.
func RunSerially(t *testing.T, start func(t *testing.T) Setup) {
	run(t, start, func(*testing.T) {})
}

func run(t *testing.T, start func(t *testing.T) Setup, begin func(*testing.T)) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *system)
	}{
		{"data arrives byte for byte", testData},
		{"the frame with metadata is exact", testMetadata},
		{"in order at every node", testOrder},
		{"once although several subscriptions match", testOnce},
		{"a publisher knows its own", testPublishedBy},
		{"direct messages to a peer", testDirect},
		{"announcements", testAnnouncements},
		{"hostile channel names", testNames},
		{"hostile patterns", testPatterns},
		{"apps that look alike", testApps},

		{"subscribers over two nodes", testSubscribers},
		{"a bucket empties and fills again", testEmptiedBucket},
		{"a node that died is counted no longer than its lease", testDeadNode},
		{"a node that stopped is not counted", testStoppedNode},

		{"exactly the cap is accepted", testCap},
		{"no cap", testUnlimited},
		{"several apps in one round trip", testBatches},
		{"one app's batch fails alone", testFailedBatch},
		{"the counter expires", testExpiry},

		{"rates and the cap", testRates},
		{"exactly a bucket's tokens are taken", testRatesRace},
		{"a bucket has one count", testTokensAreShared},
		{"a broken bucket", testBrokenBucket},

		{"live", testLive},
		{"subscriptions on and off", testSubscriptions},
		{"subscriptions that change from all sides", testChurn},
		{"done may ask for more", testDoneAsksForMore},
		{"done is not called before the call returns", testDoneComesLater},
		{"down before Run", testDownBeforeRun},
	} {
		t.Run(test.name, func(t *testing.T) {
			begin(t)
			test.run(t, &system{t: t, Setup: start(t)})
		})
	}
}
