package members

import (
	"context"
	"fmt"
	"testing"
	"time"

	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestJoinAndLeave(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		hear := s.listen()
		a, b := s.node(), s.node()
		if v := a.join("c", "p", 1, `{"k":1}`); v.Number != 1 || v.Incarnation == 0 {
			t.Errorf("version %v, want the first", v)
		}
		wantList(t, b.redis, "c", `p{"k":1}`)
		a.join("c", "q q", 2, "")
		b.join("d", "p", 3, "")
		wantList(t, b.redis, "c", `p{"k":1} q q`)
		hear.want(`c: +p{"k":1}`, `c: +q q`, `d: +p`)

		a.leave("c", "p", 1)
		hear.want(`c: -p{"k":1}`)
		wantList(t, b.redis, "c", "q q")
		a.leave("c", "q q", 2)
		hear.want("c: -q q")
		wantList(t, b.redis, "c", "")
		a.leave("c", "q q", 2)
		a.leave("d", "p", 3) // of the other node
		b.leave("e", "p", 3)

		if v := b.join("c", "r", 4, ""); v.Number != 1 {
			t.Errorf("version %v, want the first of another incarnation", v)
		}
		hear.want("c: +r")
	})
}

// A peer joins with its first connection and leaves with its last, on whatever
// node they are (protocol §4.3).
func TestOnePeerManyConnections(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		hear := s.listen()
		a, b := s.node(), s.node()
		first := a.join("c", "p", 1, "")
		if again := a.join("c", "p", 2, ""); again != first {
			t.Errorf("version %v after %v, though nothing has changed", again, first)
		}
		b.join("c", "p", 3, "")
		a.join("c", "p", 1, "") // once more
		a.leave("c", "p", 1)
		a.leave("c", "p", 1)
		a.leave("c", "p", 2)
		a.settled()
		wantList(t, a.redis, "c", "p")
		b.leave("c", "p", 3)
		hear.want("c: +p", "c: -p")
		wantList(t, a.redis, "c", "")
	})
}

// Of a peer on several nodes Redis knows on which it joined last, also by another connection
// of a node that it is on already. None of that is announced.
func TestLastJoined(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		hear := s.listen()
		a, b := s.node(), s.node()
		wantLast := func(when string, want *node) {
			t.Helper()
			a.settled()
			b.settled()
			name := ""
			if want != nil {
				name = want.node
			}
			if got := a.redis.HGet(context.Background(), keys.Bucket("app", "c").LastJoined("c"), "p").Val(); got != name {
				t.Errorf("%s: last on %q, want %q", when, got, name)
			}
		}
		a.join("c", "p", 1, "")
		wantLast("alone", nil)
		b.join("c", "p", 2, "")
		wantLast("on b", b)
		a.join("c", "p", 1, "") // the same connection
		wantLast("a once more", b)
		a.join("c", "p", 3, "")
		wantLast("another on a", a)
		a.leave("c", "p", 3)
		wantLast("which leaves", a)
		a.leave("c", "p", 1)
		wantLast("a leaves", nil)
		a.join("c", "p", 4, "")
		wantLast("a is back", a)
		b.leave("c", "p", 2)
		a.leave("c", "p", 4)
		hear.want("c: +p", "c: -p")
		a.settled()
		if n := a.redis.Exists(context.Background(), keys.Bucket("app", "c").LastJoined("c")).Val(); n != 0 {
			t.Error("the hash is left")
		}
	})
}

// A reconnect that overtakes the old connection's end shows nothing.
func TestReconnectOvertakes(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		s.member = unpaced
		hear := s.listen()
		nodes := []*node{s.node(), s.node()}
		nodes[0].join("c", "p", 1, "")
		for i := 1; i < 20; i++ {
			nodes[i%2].join("c", "p", uint64(i+1), "")
			nodes[(i+1)%2].leave("c", "p", uint64(i))
		}
		nodes[1].leave("c", "p", 20)
		hear.want("c: +p", "c: -p")
	})
}

// The metadata is that of the newest join, and a change of it is announced.
func TestNewMetadata(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		s.member = unpaced
		hear := s.listen()
		a, b := s.node(), s.node()
		a.join("c", "p", 1, `{"n":1}`)
		b.join("c", "p", 2, `{"n":2}`)
		wantList(t, a.redis, "c", `p{"n":2}`)
		b.join("c", "p", 3, `{"n":3}`)
		b.join("c", "p", 4, "")
		wantList(t, a.redis, "c", "p")
		b.join("c", "p", 4, `{"n":4}`)
		b.leave("c", "p", 4)
		b.leave("c", "p", 3)
		b.leave("c", "p", 2)
		a.leave("c", "p", 1)
		hear.want(`c: +p{"n":1}`, `c: ~p{"n":2}`, `c: ~p{"n":3}`, "c: ~p", `c: ~p{"n":4}`, `c: -p{"n":4}`)
	})
}

// Many changes share round trips, and a channel's changes in one round trip are
// one announcement.
func TestManyAtOnce(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		const peers = 2000
		hear := s.listen()
		a := s.node()
		a.join("held", "p", 1, "")
		release := a.hold()
		done := make(chan error, peers)
		for i := range peers {
			if err := a.Join("app", "fleet", fmt.Sprintf("p%04d", i), uint64(i+1), nil, func(_ presence.Version, err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
		}
		release()
		for range peers {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		page, err := presence.List(context.Background(), a.redis, keys, "app", "fleet", "", peers)
		members := page.Members
		if err != nil || len(members) != peers || members[0].Peer != "p0000" || members[peers-1].Peer != "p1999" {
			t.Fatalf("%d members, %v", len(members), err)
		}
		release = a.hold()
		for i := range peers {
			a.leave("fleet", fmt.Sprintf("p%04d", i), uint64(i+1))
		}
		release()
		awaitList(t, a.redis, "fleet", "")
		redistest.Eventually(t, patience, "everybody is announced twice", func() bool {
			hear.mu.Lock()
			defer hear.mu.Unlock()
			n := 0
			for _, h := range hear.heard {
				n += len(h.Changes)
			}
			return n == 1+2*peers // with that of held
		})
		if n := len(hear.heard); n > peers/10 {
			t.Errorf("%d announcements of %d changes", n, 2*peers)
		}
		a.leave("held", "p", 1)
		redistest.Eventually(t, patience, "nobody is remembered", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.channels) == 0 && len(a.members) == 0
		})
		wantNothingLeft(t, a)
	})
}

// hold has the node tell Redis nothing until release is called: what changes meanwhile is there
// together then. The peer p is in the channel held, and stays as it is.
func (n *node) hold() (release func()) {
	n.t.Helper()
	held, free := make(chan struct{}), make(chan struct{})
	if err := n.Join("app", "held", "p", 1, nil, func(presence.Version, error) { close(held); <-free }); err != nil {
		n.t.Fatal(err)
	}
	<-held
	return func() { close(free) }
}

// wantNothingLeft wants nobody's traces in Redis.
func wantNothingLeft(t *testing.T, n *node) {
	t.Helper()
	for _, pattern := range []string{"fw:{app.*}:presence:*", "fw:{app.*}:presence-of:*"} {
		found, err := keysLike(n.redis, pattern)
		if err != nil || len(found) > 0 {
			t.Errorf("in Redis: %q %v, want nothing", found, err)
		}
	}
}

// Who joins and leaves before Redis was told was never there.
func TestFleeting(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		hear := s.listen()
		a := s.node()
		a.join("c", "p", 1, "")
		for i := range 100 {
			peer := fmt.Sprint("q", i)
			if err := a.Join("app", "c", peer, 1, nil, func(presence.Version, error) {}); err != nil {
				t.Fatal(err)
			}
			a.leave("c", peer, 1)
		}
		a.settled()
		a.leave("c", "p", 1)
		a.settled()
		awaitList(t, a.redis, "c", "")
		wantNothingLeft(t, a)
		redistest.Eventually(t, patience, "p is announced to leave", func() bool {
			hear.mu.Lock()
			defer hear.mu.Unlock()
			return len(hear.lines) > 0 && hear.lines[len(hear.lines)-1] == "c: -p"
		})
	})
}

// A node that stops takes its members with it at once, and its lease.
func TestStop(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		hear := s.listen()
		a, b := s.node(), s.node()
		a.join("c", "p", 1, "")
		a.join("d", "p", 1, "")
		b.join("c", "q", 2, "")
		hear.want("c: +p", "d: +p", "c: +q")
		a.stop()
		wantList(t, b.redis, "c", "q")
		wantList(t, b.redis, "d", "")
		if err := a.Join("app", "c", "p", 1, nil, nil); err != ErrDown {
			t.Errorf("a node that has stopped lets in: %v", err)
		}
		left, err := b.redis.ZCard(context.Background(), keys.Leases()).Result()
		if err != nil || left != 1 {
			t.Errorf("%d leases, %v, want 1", left, err)
		}
		found, err := keysLike(b.redis, keys.LeaseBuckets("*"))
		if err != nil || len(found) != 1 {
			t.Errorf("buckets of %q %v, want of one node", found, err)
		}
		b.stop()
		rest, err := keysLike(s.client(), "fw:*")
		if err != nil || len(rest) != 0 {
			t.Errorf("in Redis: %q %v, want nothing", rest, err)
		}
	})
}

// quick is times at which leases run out while a test looks on.
var quick = times{lease: 1500 * time.Millisecond, renewal: 100 * time.Millisecond, steady: 300 * time.Millisecond, reap: time.Second, retry: 10 * time.Millisecond}

// lasting is quick, but for a lease that does not run out though the machine stands still. Where
// one is to run out, the test has it do so (expires).
var lasting = times{lease: patience, renewal: quick.renewal, steady: quick.steady, reap: patience, retry: quick.retry}

// What a node that was killed had, others take out of Redis; a peer that is on
// another node too stays.
func TestDeadNode(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		s.times = quick
		hear := s.listen()
		a, b, c := s.node(), s.node(), s.node()
		for i := range 120 { // more than are reaped at once
			a.join(fmt.Sprint("own-", i), "p", 1, "")
		}
		a.join("c", "p", 1, `{"of":"a"}`)
		a.join("c", "q", 2, "")
		b.join("c", "q", 3, "")
		c.join("c", "r", 3, "")
		a.die()
		awaitList(t, b.redis, "c", "q r")
		for i := range 120 {
			awaitList(t, b.redis, fmt.Sprint("own-", i), "")
		}
		redistest.Eventually(t, patience, "p has left 121 channels, as announced", func() bool {
			hear.mu.Lock()
			defer hear.mu.Unlock()
			left := 0
			for _, changes := range hear.last {
				if changes["p"] == presence.Left {
					left++
				}
			}
			return left == 121
		})
		redistest.Eventually(t, patience, "nothing of the dead node is left", func() bool {
			found, err := keysLike(b.redis, "fw:*"+a.identified()+"*")
			dead, err2 := b.redis.ZCard(context.Background(), keys.DeadLeases()).Result()
			return err == nil && err2 == nil && len(found) == 0 && dead == 0
		})
	})
}

// A node alone reaps, when it comes back, what it left.
func TestSameNodeComesBack(t *testing.T) {
	onEachRedis(t, func(t *testing.T, s *system) {
		s.times = quick
		a := s.node()
		a.join("c", "p", 1, "")
		a.die()
		b := s.node()
		b.join("c", "q", 1, "")
		awaitList(t, b.redis, "c", "q")
	})
}

// A node whose lease others took for run out, though it lives, states its members
// anew; and what it said late under the old identity does not stay.
func TestSlowNode(t *testing.T) {
	onEachRedis(t, func(t *testing.T, s *system) {
		s.times = quick
		a, b := s.node(), s.node()
		a.join("c", "p", 1, "")
		b.join("c", "q", 2, "")
		former := a.identified()

		// As after a pause: others have reaped it, and then it says something more.
		ctx := context.Background()
		if err := b.store.reap(ctx, former); err != nil {
			t.Fatal(err)
		}
		late := a.store.newChange(keys.Bucket("app", "c"), former)
		late.channel("c", "+", 1)
		late.join(presence.Member{Peer: "ghost"})
		if err := a.store.change(ctx, []*changeCall{late}); err != nil {
			t.Fatal(err)
		}
		awaitList(t, b.redis, "c", "p q")
		redistest.Eventually(t, patience, "the former identity is gone", func() bool {
			found, err := keysLike(b.redis, "fw:*"+former+"*")
			return err == nil && len(found) == 0
		})
		// What it stated anew can be reaped as well.
		a.die()
		awaitList(t, b.redis, "c", "q")
	})
}

// A node that dies after it took another identity leaves two to be reaped.
func TestDeadWithAFormerIdentity(t *testing.T) {
	onEachRedis(t, func(t *testing.T, s *system) {
		s.times = quick
		ctx := context.Background()
		dead := &store{redis: s.client()}
		for _, id := range []string{"former", "latter"} {
			call := dead.newChange(keys.Bucket("app", "c"), id)
			call.channel("c", "+", 1)
			call.join(presence.Member{Peer: id})
			if err := dead.enter(ctx, id, []rediskeys.Bucket{keys.Bucket("app", "c")}); err != nil {
				t.Fatal(err)
			}
			if err := dead.change(ctx, []*changeCall{call}); err != nil {
				t.Fatal(err)
			}
			dead.redis.HSet(ctx, keys.Bucket("app", "c").Subscribers(id), "c", 1) // as its receiver does
			dead.redis.SAdd(ctx, keys.Bucket("app", "c").SubscriberNodes(), id)
		}
		for _, ask := range []leaseRequest{{node: "former", begin: true}, {node: "latter", begin: true, former: "former"}} {
			if held, _, err := dead.lease(ctx, quick, ask); !held || err != nil {
				t.Fatal(held, err)
			}
		}
		wantList(t, dead.redis, "c", "former latter")
		s.node()
		awaitList(t, dead.redis, "c", "")
		redistest.Eventually(t, patience, "nothing of them is left", func() bool {
			found, err := keysLike(dead.redis, "fw:*")
			return err == nil && len(found) == 1 // the living node's lease
		})
	})
}
