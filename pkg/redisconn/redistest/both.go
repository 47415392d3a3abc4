package redistest

import (
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
	t.Run("redis", func(t *testing.T) { test(t, Start(t).Client) })
	t.Run("embedded", func(t *testing.T) {
		m, _ := Embedded(t)
		test(t, func() *redis.Client { return Client(t, "redis://"+m.Addr()) })
	})
}
