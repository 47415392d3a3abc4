package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var app = &apps.App{ID: "app"}

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
		if err := l.Revoke(ctx, app, "p", at); err != nil {
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
		if err := l.Revoke(ctx, app, "p", later); err != nil {
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
	if err := NewList(rdb, keys).Revoke(context.Background(), app, "p", time.Now()); err == nil {
		t.Error("no error without Redis: the operator would believe it done")
	}
}

// Where an app limits how long its tokens live, revocations are forgotten when the last
// token has expired that they can concern, and not before.
func TestRevocationsEnd(t *testing.T) {
	both(t, func(t *testing.T, rdb *redis.Client) {
		ctx := context.Background()
		l := NewList(rdb, keys)
		at := time.Unix(1_767_225_600, 0)
		limited := &apps.App{ID: "app", Limits: apps.Limits{MaxTokenLifeSec: 3600}}
		revoke := func(app *apps.App, peer string, at time.Time) {
			t.Helper()
			if err := l.Revoke(ctx, app, peer, at); err != nil {
				t.Fatal(err)
			}
		}
		want := func(peers ...string) {
			t.Helper()
			var got []string
			for peer := range rdb.HGetAll(ctx, keys.Revoked("app")).Val() {
				got = append(got, peer)
			}
			slices.Sort(got)
			if !slices.Equal(got, peers) {
				t.Errorf("kept are %q, want %q", got, peers)
			}
			if n := rdb.ZCard(ctx, keys.RevokedSince("app")).Val(); n != int64(len(peers)) {
				t.Errorf("%d are known by time, want %d", n, len(peers))
			}
		}
		revoke(app, "before there was a limit", at)
		revoke(limited, "again", at)
		for _, key := range []string{keys.Revoked("app"), keys.RevokedSince("app")} {
			// A token that is dated a minute ahead is good for an hour from then.
			if ttl := rdb.TTL(ctx, key).Val(); ttl < time.Hour+time.Minute || ttl > time.Hour+3*time.Minute {
				t.Errorf("%s ends in %v", key, ttl)
			}
		}
		revoke(limited, "again", at.Add(time.Minute))
		revoke(limited, "later", at.Add(time.Hour+time.Minute))
		want("again", "before there was a limit", "later")
		revoke(limited, "last", at.Add(time.Hour+2*time.Minute+time.Second))
		want("again", "last", "later")
		revoke(app, "without a limit", at.Add(24*time.Hour))
		want("again", "last", "later", "without a limit")
		if ttl := rdb.TTL(ctx, keys.Revoked("app")).Val(); ttl != -1 {
			t.Errorf("without a limit the list ends in %v", ttl)
		}
	})
}

// HOSTILE: a key that revokes ever new peers does not fill Redis. Those that are
// revoked can be revoked again, and stay.
func TestRevocationsAreBounded(t *testing.T) {
	both(t, func(t *testing.T, rdb *redis.Client) {
		ctx := context.Background()
		l := NewList(rdb, keys)
		l.maxPeers = 3
		at := time.Unix(1_767_225_600, 0)
		for i, want := range []error{nil, nil, nil, ErrFull, ErrFull} {
			if err := l.Revoke(ctx, app, fmt.Sprint("p", i), at); !errors.Is(err, want) {
				t.Errorf("number %d: %v, want %v", i, err, want)
			}
		}
		if err := l.Revoke(ctx, app, "p0", at.Add(time.Second)); err != nil {
			t.Error(err)
		}
		if got := rdb.HGet(ctx, keys.Revoked("app"), "p0").Val(); got != fmt.Sprint(at.Unix()+1) {
			t.Errorf("p0 is revoked since %s", got)
		}
		if n := rdb.HLen(ctx, keys.Revoked("app")).Val(); n != 3 {
			t.Errorf("%d are kept", n)
		}
		limited := &apps.App{ID: "app", Limits: apps.Limits{MaxTokenLifeSec: 60}}
		if err := l.Revoke(ctx, limited, "p9", at.Add(time.Hour)); err != nil {
			t.Errorf("with room: %v", err)
		}
	})
}
