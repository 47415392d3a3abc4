package receiver_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/fanout/internal/receiver/receivertest"
	"fleetwire/pkg/redisconn/redistest"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		receivertest.Run(t, realRedis)
	})
	t.Run("cluster", func(t *testing.T) {
		receivertest.RunSerially(t, onCluster)
	})
	t.Run("embedded", func(t *testing.T) {
		receivertest.Run(t, func(t *testing.T) receivertest.Setup {
			m, rdb := redistest.Embedded(t)
			return receivertest.Setup{
				Redis:  rdb,
				Client: func() redis.UniversalClient { return redistest.Client(t, "redis://"+m.Addr()) },
				Elapse: m.FastForward,
			}
		})
	})
}

func onCluster(t *testing.T) receivertest.Setup {
	cluster := redistest.SharedCluster(t)
	return receivertest.Setup{
		Redis:  cluster.Client(),
		Client: func() redis.UniversalClient { return cluster.Client() },
		Elapse: func(d time.Duration) {
			for _, s := range cluster.Nodes {
				elapse(t, s.Client(), d)
			}
		},
	}
}

func realRedis(t *testing.T) receivertest.Setup {
	server := redistest.Start(t)
	rdb := server.Client()
	return receivertest.Setup{
		Redis:  rdb,
		Client: func() redis.UniversalClient { return server.Client() },
		Elapse: func(d time.Duration) { elapse(t, rdb, d) },
	}
}

// elapse does to a real Redis what the passing of d would: keys whose time to
// live is shorter are gone.
func elapse(t *testing.T, rdb *redis.Client, d time.Duration) {
	t.Helper()
	ctx := context.Background()
	keys, err := rdb.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if ttl := rdb.PTTL(ctx, key).Val(); ttl > 0 && ttl <= d {
			rdb.Del(ctx, key)
		}
	}
}
