package quota

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/revocation"
)

// revoke refuses the tokens that a peer was issued until the second at.
func revoke(t *testing.T, rdb redis.UniversalClient, app, peer string, at int64) {
	t.Helper()
	if err := revocation.NewList(rdb, keys).Revoke(context.Background(), &apps.App{ID: app}, peer, time.Unix(at, 700_000_000)); err != nil {
		t.Fatal(err)
	}
}

func TestRevokedTokens(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		l := startLedger(t, rdb, "node")
		const at = 1_767_225_600
		revoke(t, rdb, "app", "p", at-100) // the later one counts
		revoke(t, rdb, "app", "p", at)
		revoke(t, rdb, "other", "q", at)
		since := time.Unix(at, 0)
		for _, tt := range []struct {
			name, app, peer string
			issued          time.Time
			err             error
		}{
			{"issued before", "app", "p", since.Add(-time.Second), ErrRevoked},
			{"issued in the same second", "app", "p", since.Add(999 * time.Millisecond), ErrRevoked},
			{"issued after", "app", "p", since.Add(time.Second), nil},
			{"issued nobody knows when", "app", "p", time.Time{}, ErrRevoked},
			{"issued before 1970", "app", "p", time.Unix(-5, 0), ErrRevoked},
			{"another peer", "app", "P", since.Add(-time.Second), nil},
			{"the peer of another app", "app", "q", since.Add(-time.Second), nil},
			{"the peer of the other app", "other", "q", since.Add(-time.Second), ErrRevoked},
			{"no token", "app", "", time.Time{}, nil},
		} {
			app := &apps.App{ID: tt.app, Plan: apps.Plan{MaxConcurrentConnections: 100}}
			err := l.apply(Applicant{App: app, Peer: tt.peer, IssuedAt: tt.issued})
			if !errors.Is(err, tt.err) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
			}
		}
		if got := counted(t, rdb, appWith(100)); got != 4 {
			t.Errorf("Redis counts %d connections, want the 4 that were granted", got)
		}
	})
}

// HOSTILE: the clock of who signed the token was fast, so that it seems to be from after
// the revocation. It stays refused when its iat has come; a new token is good at once.
func TestRevokedTokensFromTheFuture(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		l := startLedger(t, rdb, "node")
		app := appWith(100)
		clock, err := rdb.Time(context.Background()).Result()
		if err != nil {
			t.Fatal(err)
		}
		apply := func(peer string, issued time.Time) error {
			t.Helper()
			err := l.apply(Applicant{App: app, Peer: peer, IssuedAt: issued})
			return err
		}
		at := clock.Unix() - 2
		revoke(t, rdb, app.ID, "p", at)
		revoke(t, rdb, app.ID, "q", at-100)
		for _, tt := range []struct {
			name, peer string
			issued     int64
			want       error
		}{
			{"50 s ahead", "p", at + 50, ErrRevoked},
			{"30 s ahead", "p", at + 30, ErrRevoked},
			{"30 s ahead, again", "p", at + 30, ErrRevoked},
			{"a new token", "p", at + 1, nil},
			{"50 s ahead, long after the revocation", "q", at + 50, nil},
			{"50 s ahead, never revoked", "r", at + 50, nil},
		} {
			if err := apply(tt.peer, time.Unix(tt.issued, 0)); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
		}
		// They stay refused when their time has come, and others of that time are not.
		ctx := context.Background()
		if got, err := rdb.HGet(ctx, keys.Revoked(app.ID), "p").Result(); err != nil || got != fmt.Sprintf("%d,%d,%d", at, at+50, at+30) {
			t.Errorf("Redis has %q, %v; want the revocation and the two iat that were refused", got, err)
		}
		rdb.HSet(ctx, keys.Revoked(app.ID), "p", fmt.Sprintf("%d,%d", at-1000, at-900))
		for issued, want := range map[int64]error{at - 1000: ErrRevoked, at - 901: nil, at - 900: ErrRevoked, at - 899: nil} {
			if err := apply("p", time.Unix(issued, 0)); !errors.Is(err, want) {
				t.Errorf("iat %d: %v, want %v", issued-at, err, want)
			}
		}
		// However many there are, what is kept of them is bounded.
		for i := range int64(20) {
			apply("q", time.Unix(at+30+i, 0))
		}
		revoke(t, rdb, app.ID, "q", at)
		for i := range int64(20) {
			if err := apply("q", time.Unix(at+30+i, 0)); !errors.Is(err, ErrRevoked) {
				t.Errorf("%d s ahead: %v", 30+i, err)
			}
		}
		if got := rdb.HGet(ctx, keys.Revoked(app.ID), "q").Val(); len(got) > 130 {
			t.Errorf("Redis keeps %d bytes", len(got))
		}
		revoke(t, rdb, app.ID, "p", at+1) // again: this is what counts
		if err := apply("p", time.Unix(at+1, 0)); !errors.Is(err, ErrRevoked) {
			t.Errorf("revoked again: %v", err)
		}
	})
}

// HOSTILE: whoever holds a revoked token connects without a pause, to an app that
// has few places left. That must not keep others out.
func TestRevokedTokensTakeNoPlace(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		w := onWire(rdb)
		l := startLedger(t, rdb, "node")
		app := appWith(3)
		revoke(t, rdb, app.ID, "bad", 1000)
		l.take(app, 1) // Redis knows the script
		release := w.hold(t)
		answers := make([]error, 7)
		var all sync.WaitGroup
		all.Add(1 + len(answers))
		l.Acquire(Applicant{App: app, Done: func(error) { all.Done() }}) // of the first call, or the next
		<-w.held
		for i := range answers { // in this order, at once
			issued := time.Unix(1001, 0)
			if i != 3 && i != 6 {
				issued = time.Unix(1000, 0)
			}
			l.Acquire(Applicant{App: app, Peer: "bad", IssuedAt: issued, Done: func(err error) {
				answers[i] = err
				all.Done()
			}})
		}
		release()
		all.Wait()
		for i, err := range answers {
			want := ErrRevoked // also where there is no place
			switch i {
			case 3:
				want = nil
			case 6:
				want = ErrConnectionLimit
			}
			if !errors.Is(err, want) {
				t.Errorf("number %d: %v, want %v", i, err, want)
			}
		}
		if got := counted(t, rdb, app); got != 3 {
			t.Errorf("Redis counts %d, want 3", got)
		}
	})
}

// TestAFleetAsksInParts: one run of the script is for as many as Redis, and its
// Lua, can take at once.
func TestAFleetAsksInParts(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		rdb := client()
		w := onWire(rdb)
		l := startLedger(t, rdb, "node")
		// The one before the fleet may ride with it, if a look was held up in its place.
		const parts = 20
		const fleet = parts*askedAtOnce - 1
		app := appWith(fleet + 2)
		l.take(app, 1)
		asked := w.asking.Load()
		release := w.hold(t)
		var all sync.WaitGroup
		all.Go(func() { l.take(app, 1) })
		<-w.held
		before := w.asking.Load()
		all.Add(fleet)
		for i := range fleet {
			l.Acquire(Applicant{App: app, Peer: fmt.Sprintf("device-%06d", i), Done: func(err error) {
				if err != nil {
					t.Errorf("device %d: %v", i, err)
				}
				all.Done()
			}})
		}
		l.wait(app, fleet+1-int(before-asked))
		release()
		all.Wait()
		if got := w.asking.Load() - before; got != parts {
			t.Errorf("%d runs of the script, want %d", got, parts)
		}
		if err := l.acquire(app); !errors.Is(err, ErrConnectionLimit) {
			t.Errorf("one more: %v", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if s := l.shares[app.ID]; s.held != fleet+2 || s.waiting != nil {
			t.Errorf("%d held, %d waiting (%d kept), want %d and none", s.held, len(s.waiting), cap(s.waiting), fleet+2)
		}
	})
}

// TestRevocationsWithoutRedis: nobody gets in, and it is not said to be revoked.
func TestRevocationsWithoutRedis(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	l := startLedger(t, rdb, "node")
	m.Close()
	err := l.apply(Applicant{App: appWith(1), Peer: "p"})
	if err == nil || errors.Is(err, ErrRevoked) || errors.Is(err, ErrConnectionLimit) {
		t.Errorf("without Redis: %v, want its error", err)
	}
}
