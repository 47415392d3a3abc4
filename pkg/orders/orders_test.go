package orders

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

func TestAllNodesOfTheAppAnswer(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		closed := map[string]chan string{}
		for node, n := range map[string]int{"one": 2, "two": 3, "three": 0, "others": 7} {
			closed[node] = serve(t, rdb, node, n)
		}
		for _, node := range []string{"one", "two", "three"} {
			hold(t, rdb, "app", node, 0)
		}
		hold(t, rdb, "another", "others", 0)
		s := NewSender(rdb, keys)
		for range 2 {
			if n, err := s.Disconnect(t.Context(), "app", "p:1"); n != 5 || err != nil {
				t.Fatalf("%d closed, %v, want 5", n, err)
			}
			for _, node := range []string{"one", "two", "three"} {
				if got := next(t, closed[node]); got != "app p:1" {
					t.Errorf("%s closed %q", node, got)
				}
			}
		}
		if n, err := s.Disconnect(t.Context(), "nobody", "p"); n != 0 || err != nil {
			t.Errorf("an app that no node knows: %d closed, %v", n, err)
		}
		for node, c := range closed {
			if len(c) > 0 {
				t.Errorf("%s also closed %q", node, <-c)
			}
		}
		if left := rdb.Keys(t.Context(), "*closed*").Val(); len(left) > 0 {
			t.Errorf("answers are left in redis: %q", left)
		}
		for _, node := range []string{"one", "two", "three"} {
			// A node answers an order first, and then drops it.
			redistest.Eventually(t, 10*time.Second, "no order is left for "+node, func() bool {
				return rdb.XLen(t.Context(), keys.Inbox(node)).Val() == 0
			})
			if ttl := rdb.TTL(t.Context(), keys.Inbox(node)).Val(); ttl <= 0 {
				t.Errorf("the inbox of %s never expires", node)
			}
		}
	})
}

// A node that holds connections of the app, lives, and is out of reach: what is
// answered does not claim that all is closed, and the order waits for it.
func TestAnOrderWaitsForANodeOutOfReach(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		serve(t, rdb, "one", 1)
		hold(t, rdb, "app", "one", 0)
		hold(t, rdb, "app", "away", 0)
		s := NewSender(rdb, keys)
		n, err := s.Disconnect(t.Context(), "app", "p")
		if !errors.Is(err, ErrUnanswered) || n != 1 {
			t.Fatalf("%d closed, %v, want 1 and ErrUnanswered", n, err)
		}
		if got := next(t, serve(t, rdb, "away", 1)); got != "app p" {
			t.Errorf("back again it closed %q", got)
		}
	})
}

// Redis cannot tell a dead node from one that it does not hear of. When its lease has run
// out it counts as dead; if it lives, it closes all the same.
func TestSilentNodes(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		serve(t, rdb, "one", 1)
		hold(t, rdb, "app", "one", 0)
		hold(t, rdb, "app", "lately", lease+time.Second)
		hold(t, rdb, "app", "silent", lease+silenceWaits+time.Second)
		hold(t, rdb, "app", "forgotten", lease+quota.HoldersKept+time.Second)
		s := NewSender(rdb, keys)
		if n, err := s.Disconnect(t.Context(), "app", "p"); n != 1 || err != nil {
			t.Errorf("%d closed, %v, want 1", n, err)
		}
		for _, node := range []string{"lately", "silent"} {
			if got := next(t, serve(t, rdb, node, 1)); got != "app p" {
				t.Errorf("back again %s closed %q", node, got)
			}
		}
		if n := rdb.Exists(t.Context(), keys.Inbox("forgotten")).Val(); n != 0 {
			t.Error("an order waits for a node that was last heard of an hour ago")
		}
		hold(t, rdb, "app", "away", lease-time.Second)
		if n, err := s.Disconnect(t.Context(), "app", "q"); n != 2 || !errors.Is(err, ErrUnanswered) {
			t.Errorf("%d closed, %v, want those of the two that answer, and ErrUnanswered", n, err)
		}
	})
}

// Redis stood still for longer than a lease: nodes that live answer, and are waited for.
func TestNodesThatRedisCouldNotHear(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		for node, n := range map[string]int{"one": 2, "two": 3} {
			serve(t, rdb, node, n)
			hold(t, rdb, "app", node, lease+10*time.Second)
		}
		if n, err := NewSender(rdb, keys).Disconnect(t.Context(), "app", "p"); n != 5 || err != nil {
			t.Errorf("%d closed, %v, want 5", n, err)
		}
	})
}

// What one node is not there to take is bounded.
func TestInboxIsBounded(t *testing.T) {
	rdb := redistest.Start(t).Client()
	hold(t, rdb, "app", "away", lease+silenceWaits+time.Second)
	p := rdb.Pipeline()
	for range maxWaiting + 500 {
		p.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Inbox("away"), Values: []any{"app", "app", "peer", "p", "answers", "a"}})
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSender(rdb, keys).Disconnect(t.Context(), "app", "last"); err != nil {
		t.Fatal(err)
	}
	if n := rdb.XLen(t.Context(), keys.Inbox("away")).Val(); n > maxWaiting+200 { // Redis drops whole nodes of its tree
		t.Errorf("%d orders wait", n)
	}
}

// HOSTILE: the connection breaks when the order was carried out, and Redis was not
// told. The peer may be back: the order is answered again, not carried out again.
func TestAnOrderIsCarriedOutOnce(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	proxy := redistest.NewProxy(t, server.Addr())
	var cut atomic.Bool
	cut.Store(true)
	proxy.Pass(func(b []byte) ([]byte, bool) {
		if bytes.Contains(bytes.ToLower(b), []byte("xdel")) && cut.CompareAndSwap(true, false) {
			return nil, true
		}
		return b, false
	}, nil)
	closed := serve(t, redistest.Client(t, proxy.URL()), "one", 1)
	hold(t, rdb, "app", "one", 0)
	s := NewSender(rdb, keys)
	if n, err := s.Disconnect(t.Context(), "app", "p"); n != 1 || err != nil {
		t.Fatalf("%d closed, %v, want 1", n, err)
	}
	if n, err := s.Disconnect(t.Context(), "app", "q"); n != 1 || err != nil {
		t.Fatalf("%d closed, %v, want 1", n, err)
	}
	if got := next(t, closed) + ", " + next(t, closed); got != "app p, app q" || len(closed) > 0 {
		t.Errorf("closed %q, and %d more", got, len(closed))
	}
	if cut.Load() {
		t.Error("nothing was cut, which tests nothing")
	}
}

// Redis has just lost its data: which nodes there are is known when they have stated
// what they hold.
func TestWaitsForNodesToStateTheirs(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		serve(t, rdb, "one", 1)
		ctx := t.Context()
		asked := make(chan struct{}, 10)
		asking := redistest.Client(t, "redis://"+rdb.Options().Addr)
		asking.AddHook(asks(asked))
		type result struct {
			n   int64
			err error
		}
		done := make(chan result, 1)
		go func() {
			n, err := NewSender(asking, keys).Disconnect(ctx, "app", "p")
			done <- result{n, err}
		}()
		<-asked
		hold(t, rdb, "app", "one", 0) // the old epoch: all have
		if r := <-done; r.n != 1 || r.err != nil {
			t.Errorf("%d closed, %v, want 1", r.n, r.err)
		}
	})
}

// asks is a hook that tells of each pipeline, once Redis has answered it.
type asks chan struct{}

func (asks) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (asks) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (a asks) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		a <- struct{}{}
		return err
	}
}

// The error proves that nothing was done only if it was not.
func TestWithoutRedis(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	hold(t, rdb, "app", "one", 0)
	m.SetError("OOM command not allowed when used memory > 'maxmemory'.")
	if n, err := NewSender(rdb, keys).Disconnect(t.Context(), "app", "p"); n != 0 || err == nil || !redisconn.Undone(err) || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("%d closed, %v", n, err)
	}
	m.SetError("")
	if err := m.Set(keys.Inbox("one"), "no stream"); err != nil {
		t.Fatal(err)
	}
	if n, err := NewSender(rdb, keys).Disconnect(t.Context(), "app", "p"); n != 0 || err == nil || !redisconn.Undone(err) {
		t.Errorf("an inbox that takes no order: %d closed, %v", n, err)
	}
	hold(t, rdb, "app", "two", 0)
	if n, err := NewSender(rdb, keys).Disconnect(t.Context(), "app", "p"); n != 0 || err == nil || redisconn.Undone(err) {
		t.Errorf("one inbox of two takes no order: %d closed, %v", n, err)
	}
	m.Close()
	if n, err := NewSender(rdb, keys).Disconnect(t.Context(), "app", "p"); n != 0 || err == nil || errors.Is(err, ErrUnanswered) {
		t.Errorf("%d closed, %v", n, err)
	}
}
