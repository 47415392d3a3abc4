package redistest

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/embedded"
)

// Clock is that of an embedded Redis: what scripts read with TIME, and what keys live by. It stands
// still but for Pass.
type Clock struct {
	Now   time.Time
	redis *embedded.Redis
}

// Clocked starts an embedded Redis whose time passes only when the test says so.
func Clocked(t testing.TB) (*Clock, *redis.Client) {
	t.Helper()
	m, rdb := Embedded(t)
	c := &Clock{time.UnixMilli(1_767_222_000_000), m}
	m.SetTime(c.Now)
	return c, rdb
}

// Pass has time pass.
func (c *Clock) Pass(d time.Duration) {
	c.Now = c.Now.Add(d)
	c.redis.FastForward(d)
	c.redis.SetTime(c.Now)
}
