package revocation

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys name what the tests have in Redis.
var keys rediskeys.Namespace

func both(t *testing.T, test func(t *testing.T, rdb *redis.Client)) {
	t.Run("redis", func(t *testing.T) { test(t, redistest.Start(t).Client()) })
	t.Run("miniredis", func(t *testing.T) {
		_, rdb := redistest.Embedded(t)
		test(t, rdb)
	})
}

func TestList(t *testing.T) {
	both(t, func(t *testing.T, rdb *redis.Client) {
		ctx := context.Background()
		l := NewList(rdb, keys)
		at := time.Unix(1_767_225_600, 700_000_000)
		since := func(app, peer string) time.Time {
			t.Helper()
			seconds, err := rdb.HGet(ctx, keys.Revoked(app), peer).Int64()
			if errors.Is(err, redis.Nil) {
				return time.Time{}
			}
			if err != nil {
				t.Fatal(err)
			}
			return time.Unix(seconds, 0)
		}
		if got := since("app", "p"); !got.IsZero() {
			t.Errorf("revoked since %v before anybody did", got)
		}
		if err := l.Revoke(ctx, "app", "p", at); err != nil {
			t.Fatal(err)
		}
		if got := since("app", "p"); got.Unix() != at.Unix() {
			t.Errorf("revoked since %v, want %v", got, at)
		}
		if got := since("app", "q"); !got.IsZero() {
			t.Errorf("another peer is revoked since %v", got)
		}
		if got := since("other", "p"); !got.IsZero() {
			t.Errorf("the peer of another app is revoked since %v", got)
		}
		later := at.Add(time.Hour)
		if err := l.Revoke(ctx, "app", "p", later); err != nil {
			t.Fatal(err)
		}
		if got := since("app", "p"); got.Unix() != later.Unix() {
			t.Errorf("revoked since %v, want %v", got, later)
		}
		if ttl := rdb.TTL(ctx, keys.Revoked("app")).Val(); ttl != -1 {
			t.Errorf("revocations are dropped after %v", ttl)
		}
	})
}

func TestRevokeWithoutRedis(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	m.Close()
	if err := NewList(rdb, keys).Revoke(context.Background(), "app", "p", time.Now()); err == nil {
		t.Error("no error without Redis: the operator would believe it done")
	}
}

func TestRevokes(t *testing.T) {
	since := time.Unix(1000, 500)
	secret, publishable := &apps.Key{ID: "sk_live_1", Secret: "s"}, &apps.Key{ID: "pk_live_1"}
	for _, test := range []struct {
		name   string
		since  time.Time
		key    *apps.Key
		issued time.Time
		now    int64
		want   bool
	}{
		{"never revoked", time.Time{}, secret, time.Unix(1, 0), 1002, false},
		{"issued before", since, secret, time.Unix(999, 0), 1002, true},
		{"issued in the same second", since, secret, time.Unix(1000, 999), 1002, true},
		{"issued after", since, secret, time.Unix(1001, 0), 1002, false},
		{"no iat", since, secret, time.Time{}, 1002, true},
		{"by a clock that is two seconds fast", since, secret, time.Unix(1004, 0), 1002, false},
		{"by a clock that is three seconds fast", since, secret, time.Unix(1005, 0), 1002, true},
		{"by a clock that is 59 s fast, before", since, secret, time.Unix(1059, 0), 1001, true},
		{"ahead when the minute is nearly over", since, secret, time.Unix(1099, 0), 1060, true},
		{"ahead when the minute is over", since, secret, time.Unix(1099, 0), 1061, false},
		{"a publishable key from the future", since, publishable, time.Unix(1059, 0), 1001, false},
		{"publishable key", since, publishable, time.Time{}, 1002, false},
	} {
		if got := Revokes(test.since, &auth.Grant{Key: test.key, IssuedAt: test.issued}, time.Unix(test.now, 0)); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
