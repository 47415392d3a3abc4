package quota

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
)

// When Redis has lost its data, nobody is admitted on any node before all have
// restated what they hold; whoever asks meanwhile waits, and is refused or let in
// by the cap, which holds.
func TestCapHoldsWhenRedisLosesItsData(t *testing.T) {
	const limit = 40
	for name, lose := range map[string]func(t *testing.T, s *redistest.Server, rdb redis.UniversalClient){
		"emptied": func(t *testing.T, _ *redistest.Server, rdb redis.UniversalClient) {
			redistest.Empty(t, rdb)
		},
		"restarted empty": func(_ *testing.T, s *redistest.Server, _ redis.UniversalClient) { s.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			app := appWith(limit)
			full, empty, some := startLedger(t, server.Client(), "full"), startLedger(t, server.Client(), "empty"), startLedger(t, server.Client(), "some")
			if got := full.take(app, 30); got != 30 {
				t.Fatalf("%d granted, want 30", got)
			}
			if got := some.take(app, 6); got != 6 {
				t.Fatalf("%d granted, want 6", got)
			}
			if got := empty.take(appWith(0), 1); got != 0 { // it knows the epoch
				t.Fatal("granted over a cap of none")
			}
			lose(t, server, server.Client())
			redistest.Eventually(t, patience, "redis answers each node", func() bool {
				for _, l := range []*ledger{full, empty, some} {
					if l.rdb.Ping(context.Background()).Err() != nil {
						return false
					}
				}
				return true
			})
			if got := empty.take(app, 20); got != 4 {
				t.Errorf("%d granted of 40 beside 36, want 4", got)
			}
			if got := full.take(app, 20) + some.take(app, 20); got != 0 {
				t.Errorf("%d granted over the cap", got)
			}
		})
	}
}

// A node that starts on an empty Redis does not wait, and neither does one on a
// Redis that is in use.
func TestStartIsNoLoss(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	for _, node := range []string{"first", "second"} {
		l := startLedger(t, rdb, node)
		if got := l.take(appWith(9), 1); got != 1 {
			t.Errorf("%d granted, want 1", got)
		}
		l.stop()
		if !l.epoch.noticed.IsZero() {
			t.Error("a loss was noticed")
		}
	}
}
