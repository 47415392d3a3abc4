package revocation

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/redisconn/redistest"
)

// A session that was signed out of is known until it expires; only so many are.
func TestSessions(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx, now := context.Background(), time.Unix(1_767_225_600, 0)
		s := NewSessions(rdb, keys)
		s.max = 3
		session := func(i int) *auth.Session {
			return &auth.Session{ID: fmt.Sprint("s", i), Key: &apps.Key{App: app}, ExpiresAt: now.Add(time.Duration(i) * time.Minute)}
		}
		ended := func() (all string) {
			t.Helper()
			for i := range 6 {
				yes, err := s.Ended(ctx, session(i))
				if err != nil {
					t.Fatal(err)
				}
				if yes {
					all += fmt.Sprint(i)
				}
			}
			return all
		}
		if got := ended(); got != "" {
			t.Errorf("%s have ended before anybody signed out", got)
		}
		for _, next := range []struct {
			end  int
			at   time.Duration
			want string
		}{{1, 0, "1"}, {2, 0, "12"}, {3, 0, "123"}, {5, 0, "235"}, {4, 2 * time.Minute, "345"}} {
			if err := s.End(ctx, session(next.end), now.Add(next.at)); err != nil {
				t.Fatal(err)
			}
			if got := ended(); got != next.want {
				t.Errorf("after %d, %s have ended, want %s", next.end, got, next.want)
			}
		}
		other := session(4)
		other.Key = &apps.Key{App: &apps.App{ID: "other"}}
		if yes, err := s.Ended(ctx, other); yes || err != nil {
			t.Errorf("another app's session: %v, %v", yes, err)
		}
		if left := rdb.TTL(ctx, keys.SignedOut(app.ID)).Val(); left <= 0 || left > auth.SessionLife {
			t.Errorf("the set is kept for %v", left)
		}
	})
}
