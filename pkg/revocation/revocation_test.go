package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

var app = &apps.App{ID: "app"}

// keys name what the tests have in Redis.
var keys rediskeys.Namespace

func TestList(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
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
	})
}

func TestRevokeWithoutRedis(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	m.Close()
	if err := NewList(rdb, keys).Revoke(context.Background(), app, "p", time.Now()); err == nil {
		t.Error("no error without Redis: the operator would believe it done")
	}
}

// Revocations are forgotten when the last token has expired that they can concern, and not
// before: the longest that the app allows, or, without a limit, that was seen or minted.
func TestRevocationsEnd(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name         string
		limit        int           // maxTokenLifeSec
		seen, needed time.Duration // the longest life that was seen
	}{
		{"with a limit", 3600, 0, time.Hour},
		{"with a limit above what was seen", 3600, time.Minute, time.Hour},
		{"with a limit below what was once seen", 3600, 400 * day, time.Hour},
		{"no token was seen", 0, 0, protocol.MaxTokenTTL},
		{"short ones were seen", 0, time.Minute, protocol.MaxTokenTTL},
		{"long ones were seen", 0, 400 * day, 400 * day},
		{"endless ones were seen", 0, 80_000 * day, 80_000 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
				ctx := t.Context()
				l := NewList(rdb, keys)
				app := &apps.App{ID: "app", Limits: apps.Limits{MaxTokenLifeSec: tt.limit}}
				if tt.seen > 0 {
					rdb.Set(ctx, keys.TokenLife("app"), int64(tt.seen/time.Second), 0)
				}
				at := time.Unix(1_767_225_600, 0)
				revoke := func(peer string, after time.Duration) {
					t.Helper()
					if err := l.Revoke(ctx, app, peer, at.Add(after)); err != nil {
						t.Fatal(err)
					}
				}
				want := func(peers ...string) {
					t.Helper()
					got := rdb.HKeys(ctx, keys.Revoked("app")).Val()
					slices.Sort(got)
					if !slices.Equal(got, peers) {
						t.Errorf("kept are %q, want %q", got, peers)
					}
					if n := rdb.ZCard(ctx, keys.RevokedSince("app")).Val(); n != int64(len(peers)) {
						t.Errorf("%d are known by time, want %d", n, len(peers))
					}
				}
				revoke("first", 0)
				for _, key := range []string{keys.Revoked("app"), keys.RevokedSince("app")} {
					// A token that is dated a minute ahead lives from then.
					if ttl := rdb.TTL(ctx, key).Val(); ttl < tt.needed+time.Minute || ttl > tt.needed+3*time.Minute {
						t.Errorf("%s ends in %v, want %v and two minutes", key, ttl, tt.needed)
					}
				}
				revoke("again", 0)
				revoke("again", time.Minute)
				revoke("later", tt.needed+time.Minute)
				want("again", "first", "later")
				revoke("last", tt.needed+2*time.Minute+time.Second)
				want("again", "last", "later")
			})
		})
	}
}

// HOSTILE: a key that revokes ever new peers does not fill Redis. Those that are
// revoked can be revoked again, and stay.
func TestRevocationsAreBounded(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
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
