package usage

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// acquire takes a connection of the app's plan.
func acquire(t *testing.T, node *quota.Connections, app *apps.App) {
	t.Helper()
	answer := make(chan error, 1)
	node.Acquire(quota.Applicant{App: app, Done: func(err error) { answer <- err }})
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
}

func TestPeak(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		app := demo(true, true)
		now := thisPeriod()
		ctx, cancel := context.WithCancel(context.Background())
		node := quota.NewConnections(rdb, rediskeys.Namespace{}, "node-1")
		done := make(chan struct{})
		go func() { node.Run(ctx); close(done) }()
		for range 7 {
			acquire(t, node, app)
		}
		for range 5 {
			node.Release(app.ID)
		}
		redistest.Eventually(t, 5*time.Second, "2 left", func() bool { return report(t, rdb, app, now).ConcurrentNow == 2 })
		got := report(t, rdb, app, now)
		if got.PeakConcurrent != 7 || got.OverageConnections != 4 {
			t.Errorf("%+v", got)
		}
		cancel()
		<-done
		got = report(t, rdb, app, now)
		if got.PeakConcurrent != 7 || got.ConcurrentNow != 0 {
			t.Errorf("%+v", got)
		}
		key, at := quota.Peak(rediskeys.Namespace{}, app.ID, now)
		ttl := rdb.TTL(context.Background(), key).Val()
		if (ttl - time.Until(at)).Abs() > time.Minute {
			t.Errorf("ttl %v want %v", ttl, time.Until(at))
		}
	})
}
