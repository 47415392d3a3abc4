package quota

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// However many race for the last messages, exactly as many are admitted as the cap allows,
// and what is given back makes no room that was not there.
func TestAdmitKeepsTheCap(t *testing.T) {
	rdb := redistest.Start(t).Client()
	ctx := context.Background()
	counter := Counter{Key: "{a}messages", Limit: 50, ExpiresAt: time.Now().Add(time.Hour)}
	var admitted atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 10 {
				switch _, err := Admit(ctx, rdb, counter, nil); {
				case err == nil:
					admitted.Add(1)
				case !errors.Is(err, ErrOverCap):
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := rdb.Get(ctx, counter.Key).Val(); admitted.Load() != 50 || n != "200" {
		t.Errorf("%d of 50 are admitted, %s counted of 200 attempts", admitted.Load(), n)
	}
	if err := counter.GiveBack(ctx, rdb); err != nil {
		t.Fatal(err)
	}
	if _, err := Admit(ctx, rdb, counter, nil); !errors.Is(err, ErrOverCap) {
		t.Errorf("after one is given back: %v", err)
	}
	if ttl := rdb.TTL(ctx, counter.Key).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("the counter expires in %v", ttl)
	}
}

// One without a token is not counted; one without a cap always passes.
func TestAdmitTakesTokens(t *testing.T) {
	c, rdb := newClock(t) // of which no token comes while the test runs
	ctx := context.Background()
	counter := Counter{Key: "{a}messages", Limit: Unlimited, ExpiresAt: c.now.Add(time.Hour)}
	bucket := &Bucket{Key: "{a}rest", PerSec: 1, Burst: 2}
	for range 2 {
		if _, err := Admit(ctx, rdb, counter, bucket); err != nil {
			t.Fatal(err)
		}
	}
	next, err := Admit(ctx, rdb, counter, bucket)
	if !errors.Is(err, ErrOverRate) || next <= 0 || next > time.Second {
		t.Errorf("%v, next in %v", err, next)
	}
	if n := rdb.Get(ctx, counter.Key).Val(); n != "2" {
		t.Errorf("%s are counted", n)
	}
}
