package redistest

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Both runs a test on a real Redis and on an embedded one.
func Both(t *testing.T, test func(t *testing.T, rdb *redis.Client)) {
	BothClients(t, func(t *testing.T, client func() *redis.Client) { test(t, client()) })
}

// BothClients is Both for a test that needs several clients of its Redis; client opens
// one.
func BothClients(t *testing.T, test func(t *testing.T, client func() *redis.Client)) {
	t.Run("redis", func(t *testing.T) {
		s := Start(t)
		test(t, func() *redis.Client { return Patient(s.Client()) })
	})
	t.Run("embedded", func(t *testing.T) {
		m, _ := Embedded(t)
		test(t, func() *redis.Client { return Patient(Client(t, "redis://"+m.Addr())) })
	})
}

// Patient has a client wait for answers: nothing happens to its Redis, which is slow where the
// machine is busy. The client must not have been used.
func Patient[Client redis.UniversalClient](rdb Client) Client {
	switch one := any(rdb).(type) {
	case *redis.Client:
		one.Options().ReadTimeout, one.Options().WriteTimeout = clusterPatience, clusterPatience
	case *redis.ClusterClient:
		one.Options().ReadTimeout, one.Options().WriteTimeout = clusterPatience, clusterPatience
	}
	return rdb
}

// Everywhere runs a test on a real Redis, on an embedded one, and on a Redis Cluster.
func Everywhere(t *testing.T, test func(t *testing.T, rdb redis.UniversalClient)) {
	EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) { test(t, client()) })
}

// EverywhereClients is Everywhere for a test that needs several clients; client opens one.
func EverywhereClients(t *testing.T, test func(t *testing.T, client func() redis.UniversalClient)) {
	BothClients(t, func(t *testing.T, client func() *redis.Client) {
		test(t, func() redis.UniversalClient { return client() })
	})
	t.Run("cluster", func(t *testing.T) {
		c := SharedCluster(t)
		test(t, func() redis.UniversalClient { return Patient(c.Client()) })
	})
}

// Empty has a Redis, or all masters of a Redis Cluster, forget everything.
func Empty(t testing.TB, rdb redis.UniversalClient) {
	t.Helper()
	flush := func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() }
	var err error
	switch c := rdb.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(context.Background(), flush)
	default:
		err = c.FlushAll(context.Background()).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}
