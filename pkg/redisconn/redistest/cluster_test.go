package redistest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

// Keys stay where they are looked for while masters fail over, die, come back, and slots
// move: other tests rely on that.
func TestCluster(t *testing.T) {
	c := StartClusterOf(t, 3, 1)
	rdb := c.Client()
	ctx := context.Background()
	key := func(i int) string { return fmt.Sprintf("k{%d}", i) }
	for i := range 50 {
		if err := rdb.Set(ctx, key(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	keeps := func(after string) {
		t.Helper()
		for i := range 50 {
			Eventually(t, clusterPatience, fmt.Sprintf("after %s %s is there", after, key(i)), func() bool {
				n, err := rdb.Get(ctx, key(i)).Int()
				if err != nil {
					rdb.ReloadState(ctx)
				}
				return err == nil && n == i
			})
		}
	}
	first := c.Master(key(1))
	if second := c.Failover(first); c.Master(key(1)) != second {
		t.Error("the replica has no slots after a failover")
	}
	keeps("a failover")
	c.Settled()

	other := c.Add()
	c.Migrate(key(1), other)
	if c.Master(key(1)) != other {
		t.Error("the slot was not migrated")
	}
	c.Agreed()
	for _, s := range c.Nodes {
		if moved := s.Client().Get(ctx, key(1)).Err(); s != other && !redis.HasErrorPrefix(moved, fmt.Sprintf("MOVED %d %s", rediskeys.Slot(key(1)), other.Addr())) {
			t.Errorf("%s says %v of a key that is at %s", s.Addr(), moved, other.Addr())
		}
	}
	keeps("resharding")

	dying := c.Master(key(2))
	replica := c.Replica(dying)
	if err := dying.Client().Wait(ctx, 1, clusterPatience).Err(); err != nil {
		t.Fatal(err)
	}
	dying.Stop()
	Eventually(t, clusterPatience, "the replica of a dead master is the master", func() bool {
		return strings.Contains(replica.Client().Info(ctx, "replication").Val(), "role:master")
	})
	keeps("a crash")
	dying.Resume()
	c.Settled()
	keeps("the return of the dead")
	c.Flush()
	if n, err := rdb.DBSize(ctx).Result(); err != nil || n != 0 {
		t.Errorf("%d keys are left, %v", n, err)
	}
}

// Each test that shares the cluster finds it empty.
func TestSharedCluster(t *testing.T) {
	ctx := context.Background()
	var addr string
	for range 2 {
		c := SharedCluster(t)
		if addr != "" && addr != c.Nodes[0].Addr() {
			t.Error("it is another one")
		}
		addr = c.Nodes[0].Addr()
		for _, s := range c.Nodes {
			if got := s.Client().ConfigGet(ctx, "cluster-node-timeout").Val()["cluster-node-timeout"]; got != trustMs {
				t.Errorf("%s takes another node for failed after %s ms, want %s", s.Addr(), got, trustMs)
			}
		}
		rdb := c.Client()
		if n, err := rdb.DBSize(ctx).Result(); err != nil || n != 0 {
			t.Errorf("%d keys, %v", n, err)
		}
		if err := rdb.Set(ctx, "k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	EndShared()
	if again := SharedCluster(t).Nodes[0].Addr(); again == addr {
		t.Error("EndShared leaves it")
	}
}

func TestMain(m *testing.M) { VerifyTestMain(m) }
