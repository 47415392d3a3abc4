package quota

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
)

// The bucket was written by a clock that is ahead of now, or far behind. It goes on
// from what it is, at its rate.
func TestBucketWhenTheClockIsSet(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -20 * time.Second, time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			c, rdb := newClock(t)
			l := NewRateLimiter(rdb, keys)
			key := keyWith("k", 10, 3)
			for range 3 {
				rest(t, l, key)
			}
			c.pass(step)
			ok, _ := rest(t, l, key)
			if ok != (step > 0) { // the time that passed by the clock fills it, once
				t.Errorf("allowed %v at once", ok)
			}
			for range 20 {
				c.pass(100 * time.Millisecond)
				if ok, _ := rest(t, l, key); !ok {
					t.Fatal("refused, though a tenth of a second has passed")
				}
			}
		})
	}
}

// A window of connects that was begun by a clock that is ahead ends in time.
func TestConnectWindowWhenTheClockIsSet(t *testing.T) {
	rdb := redistest.Start(t).Client()
	ctx := context.Background()
	key := keys.ConnectRate("app", "192.0.2.1")
	rdb.Set(ctx, key, 100, time.Hour)
	reply, err := rdb.Eval(ctx, connectsLua, []string{key}, 60_000, 1, 60).Int64Slice()
	if err != nil || reply[1] > 60_000 {
		t.Errorf("it lasts %d ms more, %v", reply, err)
	}
	if ttl := rdb.PTTL(ctx, key).Val(); ttl > time.Minute || ttl < 50*time.Second {
		t.Errorf("it ends in %v", ttl)
	}
}

// Redis's clock is set by so much that leases seem to have run out, or seem to last.
// The cap holds, and a dead node's places are given back in time.
func TestCapWhenTheClockIsSet(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -20 * time.Second, 20 * time.Second, time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			c, rdb := newClock(t)
			app := appWith(10)
			full, some := startLedger(t, rdb, "full"), startLedger(t, redistest.Client(t, "redis://"+rdb.Options().Addr), "some")
			if got := full.take(app, 6) + some.take(app, 2); got != 8 {
				t.Fatalf("%d granted, want 8", got)
			}
			c.pass(step)
			if got := some.take(app, 5); got != 2 {
				t.Errorf("%d granted of 10 beside 8, want 2", got)
			}
			redistest.Eventually(t, patience, "all have stated theirs", func() bool { return counted(t, rdb, app) == 10 })
			full.die()
			redistest.Eventually(t, patience, "Redis has read the last that the dead node sent", func() bool {
				return c.CurrentConnectionCount() == 1 // the other node's, which makes one call at a time
			})
			c.pass(connectionLease + time.Second)
			if got := some.take(app, 10); got != 6 {
				t.Errorf("%d granted when the lease of a dead node had run out, want its 6", got)
			}
		})
	}
}

// A clock counts as set when it has run further than the node's own can have, or less.
func TestClockStepped(t *testing.T) {
	at := time.Now()
	look := func(redis, sent, heard int64) clockLook {
		ms := func(n int64) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
		return clockLook{1_700_000_000_000 + redis, ms(sent), ms(heard)}
	}
	for name, tt := range map[string]struct {
		last, now clockLook
		want      bool
	}{
		"the first look":         {clockLook{}, look(0, 0, 1), false},
		"as it should":           {look(0, 0, 1), look(500, 500, 501), false},
		"Redis stood still":      {look(0, 0, 1), look(5500, 500, 5600), false},
		"this node stood still":  {look(0, 0, 9000), look(9500, 9500, 9501), false},
		"ahead":                  {look(0, 0, 1), look(2500, 500, 501), true},
		"back":                   {look(0, 0, 1), look(-2500, 500, 501), true},
		"less than what matters": {look(0, 0, 1), look(1400, 500, 501), false},
	} {
		if got := tt.now.stepped(tt.last); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// A connection that exchanges its token asks as one that connects, and takes no place.
func TestHeldConnectionsAskAboutTokens(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		l := startLedger(t, rdb, "node")
		app := appWith(1)
		l.take(app, 1)
		const at = 1_767_225_600
		revoke(t, rdb, app.ID, "p", at)
		for issued, want := range map[int64]error{at: ErrRevoked, at - 1: ErrRevoked, at + 1: nil} {
			if err := l.apply(Applicant{Held: true, App: app, Peer: "p", IssuedAt: time.Unix(issued, 0)}); !errors.Is(err, want) {
				t.Errorf("issued %d s after the revocation: %v, want %v", issued-at, err, want)
			}
		}
		rdb.HSet(context.Background(), keys.Revoked(app.ID), "q", fmt.Sprintf("%d,%d", at, at+30))
		if err := l.apply(Applicant{Held: true, App: app, Peer: "q", IssuedAt: time.Unix(at+30, 0)}); !errors.Is(err, ErrRevoked) {
			t.Errorf("refused before, since it came from the future: %v", err)
		}
		if got := counted(t, rdb, app); got != 1 {
			t.Errorf("Redis counts %d connections, want 1", got)
		}
		l.release(app, 1)
		redistest.Eventually(t, patience, "the place is given back", func() bool { return counted(t, rdb, app) == 0 })
	})
}
