package members

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// Whatever happens to Redis, nodes restore what they have, and nothing else.
func TestRedisIsLost(t *testing.T) {
	for _, c := range []struct {
		name       string
		away, back func(*system)
	}{
		{"restarted empty", func(s *system) { s.server.Stop() }, func(s *system) { s.server.Restart() }},
		{"hung", func(s *system) { s.server.Freeze() }, func(s *system) { s.server.Thaw() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSystem(t)
			s.times.renewal = quick.renewal // or the outage is noticed late
			a, b := s.node(), s.node()
			a.join("c", "p", 1, `{"k":1}`)
			a.join("c", "gone", 2, "")
			a.join("d", "p", 1, "")
			b.join("c", "p", 3, `{"k":1}`)
			b.join("c", "q", 4, "")

			c.away(s)
			for _, n := range []*node{a, b} {
				redistest.Eventually(t, patience, "the node knows that Redis is away", func() bool { return !n.Live() })
				if err := n.Join("app", "c", "new", 9, nil, nil); err != ErrDown {
					t.Errorf("joined while Redis is away: %v", err)
				}
			}
			a.leave("c", "gone", 2)

			c.back(s)
			rdb := s.client()
			awaitList(t, rdb, "c", `p{"k":1} q`)
			awaitList(t, rdb, "d", "p")
			redistest.Eventually(t, patience, "the nodes are live", func() bool { return a.Live() && b.Live() })
			a.join("c", "r", 5, "")
			a.leave("c", "p", 1)
			b.leave("c", "p", 3)
			awaitList(t, rdb, "c", "q r")
			a.leave("c", "r", 5)
			a.leave("d", "p", 1)
			b.leave("c", "q", 4)
			awaitList(t, rdb, "c", "")
			awaitList(t, rdb, "d", "")
			redistest.Eventually(t, patience, "nothing is left in Redis", func() bool {
				keys, err := keysLike(rdb, "fw:{app.*")
				return err == nil && len(keys) == 0
			})
		})
	}
}

// A Redis that forgets everything between two commands is noticed with the next
// renewal, though no connection broke.
func TestRedisIsEmptied(t *testing.T) {
	onEachRedis(t, func(t *testing.T, s *system) {
		s.times.renewal = quick.renewal
		a, b := s.node(), s.node()
		for i := range 600 { // more than one round trip
			a.join("c", fmt.Sprintf("p%03d", i), 1, "")
		}
		b.join("c", "q", 1, "")
		want := list(t, a.redis, "c")
		redistest.Empty(t, a.redis)
		awaitList(t, b.redis, "c", want)
	})
}

// A Redis that answers, but takes nothing (it is out of memory): subscribing goes
// on, and what it refused it is told again.
func TestRedisTakesNothing(t *testing.T) {
	s := newSystem(t)
	s.times.renewal = quick.renewal
	s.times.lease = patience
	a := s.node()
	a.join("c", "p", 1, "")
	ctx := context.Background()
	limit := func(memory string) {
		t.Helper()
		if err := a.redis.ConfigSet(ctx, "maxmemory", memory).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	if v, err := a.tryJoin("c", "q", 1, ""); err != nil || v != (presence.Version{}) {
		t.Errorf("joined at %v, %v; want no version and no error", v, err)
	}
	a.leave("c", "p", 1)
	limit("0")
	awaitList(t, a.redis, "c", "q")
	a.leave("c", "q", 1)
	awaitList(t, a.redis, "c", "")
	wantNothingLeft(t, a)
}

// A node that is to state everything anew, and takes an identity for another reason, takes no
// second one: under the first it has stated all.
func TestRestateWithAnIdentity(t *testing.T) {
	onEachRedis(t, func(t *testing.T, s *system) {
		var identities []string
		log := slog.New(slog.DiscardHandler)
		n := NewTracker(Options{Redis: s.client(), Health: redisconn.NewHealth(log), Log: log})
		n.Restate()
		ctx, cancel := context.WithCancel(t.Context())
		n.opt.Identified = func(id string) {
			if identities = append(identities, id); len(n.doubt) > 0 {
				t.Error("the node takes another identity at once")
			}
			cancel()
		}
		n.Run(ctx)
		if len(identities) != 1 {
			t.Errorf("the node took the identities %q", identities)
		}
	})
}

// A server that takes over without an error to any call may lack the last that nodes told the
// one before: after Restate it has all.
func TestRestate(t *testing.T) {
	s := newSystem(t)
	a, b := s.node(), s.node()
	a.join("c", "stays", 1, "")
	a.join("c", "goes", 2, "")
	b.join("c", "other", 3, "")
	rdb, ctx := s.client(), context.Background()
	former := map[string]string{}
	names := func() []string { return rdb.Keys(ctx, "fw:*").Val() }
	for _, key := range names() {
		former[key] = rdb.Dump(ctx, key).Val()
	}
	a.leave("c", "goes", 2)
	a.join("c", "comes", 4, "")
	a.join("new", "comes", 4, "")
	awaitList(t, rdb, "c", "comes other stays")

	for _, key := range names() {
		if former[key] == "" {
			rdb.Del(ctx, key)
		}
	}
	for key, value := range former {
		if err := rdb.RestoreReplace(ctx, key, 0, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	awaitList(t, rdb, "c", "goes other stays")
	a.Restate()
	awaitList(t, rdb, "c", "comes other stays")
	awaitList(t, rdb, "new", "comes")
	if !a.Live() || !b.Live() {
		t.Error("nodes take no members meanwhile")
	}
}
