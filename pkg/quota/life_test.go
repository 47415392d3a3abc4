package quota

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
)

// tokenLife is how long the tokens of app live, by what Redis knows.
func tokenLife(t *testing.T, rdb redis.UniversalClient, app *apps.App) time.Duration {
	t.Helper()
	seconds, err := rdb.Get(t.Context(), keys.TokenLife(app.ID)).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return time.Duration(seconds) * time.Second
}

// Redis knows how long the longest token lives that was seen, of which revocations are
// kept as long as they are needed.
func TestTokenLife(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		l, other := startLedger(t, rdb, "node"), startLedger(t, client(), "other")
		app := appWith(100)
		now, err := rdb.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		const year = 365 * 24 * time.Hour
		for _, tt := range []struct {
			name            string
			on              *ledger
			held            bool
			peer            string
			issued, expires time.Duration // from now
			want            time.Duration
		}{
			{"a publishable key", l, false, "", 0, 9 * year, 0},
			{"an hour", l, false, "p", -time.Minute, 59 * time.Minute, time.Hour},
			{"less", l, false, "p", -time.Minute, time.Minute, time.Hour},
			{"less, on another node", other, false, "p", -time.Minute, time.Minute, time.Hour},
			{"an hour and a second", other, false, "p", 0, time.Hour + time.Second, time.Hour + time.Minute},
			{"a longer one on a refresh", l, true, "p", 0, 3 * time.Hour, 3 * time.Hour},
			{"one that expires before it is issued", l, false, "p", time.Minute, time.Second, 3 * time.Hour},
			{"one that is nearly used up", l, false, "p", 5*time.Minute - year, 5 * time.Minute, year},
		} {
			a := Applicant{Held: tt.held, App: app, IssuedAt: now.Add(tt.issued), ExpiresAt: now.Add(tt.expires), Peer: tt.peer}
			if err := tt.on.apply(a); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if got := tokenLife(t, rdb, app); got != tt.want {
				t.Errorf("%s: Redis knows of %v, want %v", tt.name, got, tt.want)
			}
		}
		if ttl := rdb.TTL(t.Context(), keys.TokenLife(app.ID)).Val(); ttl < year || ttl > year+2*time.Minute {
			t.Errorf("Redis knows it for %v, want as long, and two minutes", ttl)
		}
	})
}

// A token that does not tell when it was issued may be of any age.
func TestTokenLifeWithoutIssue(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		l := startLedger(t, rdb, "node")
		app := appWith(100)
		expires := time.Now().Add(time.Hour)
		if err := l.apply(Applicant{App: app, Peer: "p", ExpiresAt: expires}); err != nil {
			t.Error(err)
		}
		if got := tokenLife(t, rdb, app); got < 59*time.Minute || got > time.Hour {
			t.Errorf("Redis knows of %v, want the hour that the token will live", got)
		}
		// It is seen for the first time long after its peer was revoked.
		revoke(t, rdb, app.ID, "q", expires.Add(-10*time.Hour).Unix())
		if err := l.apply(Applicant{App: app, Peer: "q", ExpiresAt: expires}); !errors.Is(err, ErrRevoked) {
			t.Errorf("%v, want ErrRevoked", err)
		}
		if got := tokenLife(t, rdb, app); got != 10*time.Hour {
			t.Errorf("Redis knows of %v, want the 10 h until the token has expired", got)
		}
	})
}

// A token that lives longer than those that were known when its peer was revoked keeps
// the revocation, refused or not.
func TestRevocationsOutliveTheTokensThatAreSeen(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		l := startLedger(t, rdb, "node")
		app := appWith(100)
		now := time.Now()
		revoke(t, rdb, app.ID, "p", now.Unix())
		want := func(least time.Duration) {
			t.Helper()
			for _, key := range []string{keys.Revoked(app.ID), keys.RevokedSince(app.ID)} {
				if ttl := rdb.TTL(t.Context(), key).Val(); ttl < least || ttl > least+3*time.Minute {
					t.Errorf("%s ends in %v, want %v and two minutes", key, ttl, least)
				}
			}
		}
		const day = 24 * time.Hour
		want(day)
		for _, tt := range []struct {
			peer        string
			life, least time.Duration
			want        error
		}{
			{"p", time.Hour, day, ErrRevoked},
			{"p", 40 * day, 40 * day, ErrRevoked},
			{"other", 30 * day, 40 * day, nil},
			{"other", 50 * day, 50 * day, nil},
		} {
			issued := now.Add(-time.Minute)
			err := l.apply(Applicant{App: app, Peer: tt.peer, IssuedAt: issued, ExpiresAt: issued.Add(tt.life)})
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.peer, err, tt.want)
			}
			want(tt.least)
		}
	})
}

// Redis lost its data: nodes say again what they know of tokens that live on.
func TestTokenLifeAfterALoss(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		l := startLedger(t, rdb, "node")
		app := appWith(100)
		now := time.Now()
		if err := l.apply(Applicant{App: app, Peer: "p", IssuedAt: now, ExpiresAt: now.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		redistest.Empty(t, rdb)
		redistest.Eventually(t, patience, "Redis knows it again", func() bool { return tokenLife(t, rdb, app) == time.Hour })
	})
}

// The connections that a node holds expire from its first connect on, and a node that
// always has connects keeps them.
func TestHeldConnectionsAreRenewedAmongConnects(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		l := startLedger(t, rdb, "node")
		app := appWith(1_000_000)
		l.take(app, 1)
		for key, ends := range map[string]time.Duration{keys.Connections(app.ID): 2 * connectionLease, keys.ConnectionLeases(app.ID): connectionLease + HoldersKept} {
			if ttl := rdb.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > ends {
				t.Errorf("%s ends in %v, want %v", key, ttl, ends)
			}
			rdb.PExpire(t.Context(), key, 2*leaseRenewal)
		}
		redistest.Eventually(t, patience, "the node renews them", func() bool {
			l.take(app, 1)
			return rdb.PTTL(t.Context(), keys.Connections(app.ID)).Val() > connectionLease && rdb.PTTL(t.Context(), keys.ConnectionLeases(app.ID)).Val() > HoldersKept/2
		})
	})
}
