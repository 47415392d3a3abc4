package quota

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
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

// A replica that is promoted has the epoch, and may lack what nodes told the former primary
// last: the cap holds all the same.
func TestCapHoldsWhenAReplicaLacksTheLast(t *testing.T) {
	primary, replica := redistest.Start(t), redistest.Start(t)
	link := redistest.NewProxy(t, primary.Addr())
	full, empty := startLedger(t, redistest.Client(t, link.URL()), "full"), startLedger(t, redistest.Client(t, link.URL()), "empty")
	app := appWith(40)
	if got := full.take(app, 36); got != 36 {
		t.Fatalf("%d granted, want 36", got)
	}
	if got := empty.take(appWith(0), 1); got != 0 { // it knows the epoch
		t.Fatal("granted over a cap of none")
	}
	epoch := primary.Client().Get(t.Context(), keys.Epoch()).Val()
	if err := replica.Client().Set(t.Context(), keys.Epoch(), epoch, 0).Err(); err != nil {
		t.Fatal(err)
	}
	link.Lead(replica.Addr())
	link.Cut()
	if got := empty.take(app, 20); got != 4 {
		t.Errorf("%d granted of 40 beside 36, want 4", got)
	}
	if got := full.take(app, 20); got != 0 {
		t.Errorf("%d granted over the cap", got)
	}
	for _, l := range []*ledger{full, empty} {
		l.stop()
		if l.epochs[0].noticed.IsZero() {
			t.Error("the other server was not noticed")
		}
	}
}

// One master of a cluster has lost its data: so it is with the apps whose slots it has.
func TestCapHoldsWhenAMasterLosesItsData(t *testing.T) {
	t.Parallel()
	const limit = 40
	c := redistest.StartClusterOf(t, 3, 0)
	app := appWith(limit)
	full, empty := startLedger(t, c.Client(), "full"), startLedger(t, c.Client(), "empty")
	if got := full.take(app, 36); got != 36 {
		t.Fatalf("%d granted, want 36", got)
	}
	if got := empty.take(appWith(0), 1); got != 0 { // it knows the epochs
		t.Fatal("granted over a cap of none")
	}
	redistest.Empty(t, c.Master(keys.Connections(app.ID)).Client())
	if got := empty.take(app, 20); got != 4 {
		t.Errorf("%d granted of 40 beside 36, want 4", got)
	}
}

// Nodes race for the places of an app on a cluster: as many get one as the cap allows.
func TestNodesRaceOnACluster(t *testing.T) {
	const limit, nodes = 50, 4
	c := redistest.SharedCluster(t)
	app := appWith(limit)
	var granted atomic.Int64
	var all sync.WaitGroup
	for i := range nodes {
		l := startLedger(t, c.Client(), fmt.Sprint("node", i))
		all.Go(func() { granted.Add(int64(l.take(app, 20))) })
	}
	all.Wait()
	if granted.Load() != limit {
		t.Errorf("%d granted, want %d", granted.Load(), limit)
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
		if !l.epochs[0].noticed.IsZero() {
			t.Error("a loss was noticed")
		}
	}
}
