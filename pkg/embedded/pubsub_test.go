package embedded_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/embedded"
	"fleetwire/pkg/redisconn/redistest"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// patience is only waited out by a test that fails.
const patience = 10 * time.Second

// subscribe subscribes by name and by glob on one connection.
func subscribe(t *testing.T, rdb *redis.Client, names, globs []string) *redis.PubSub {
	t.Helper()
	s := rdb.Subscribe(t.Context())
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Subscribe(t.Context(), names...); err != nil {
		t.Fatal(err)
	}
	if len(globs) > 0 {
		if err := s.PSubscribe(t.Context(), globs...); err != nil {
			t.Fatal(err)
		}
	}
	for range len(names) + len(globs) {
		if m, ok := next(t, s).(*redis.Subscription); !ok {
			t.Fatalf("got %v, want a confirmation", m)
		}
	}
	return s
}

func next(t *testing.T, s *redis.PubSub) any {
	t.Helper()
	m, err := s.ReceiveTimeout(t.Context(), patience)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// publishInTurn publishes n numbers in one round trip, in turn to "name" and to
// "glob:x".
func publishInTurn(t *testing.T, rdb *redis.Client, n int) {
	t.Helper()
	p := rdb.Pipeline()
	for i := range n {
		p.Publish(t.Context(), []string{"name", "glob:x"}[i%2], i)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// misplaced counts the numbers that do not come in when it is their turn.
func misplaced(t *testing.T, s *redis.PubSub, n int) (misplaced int) {
	t.Helper()
	for i := range n {
		if m, ok := next(t, s).(*redis.Message); !ok || m.Payload != fmt.Sprint(i) {
			misplaced++
		}
	}
	return misplaced
}

const many = 2000

func TestOrder(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		s := subscribe(t, rdb, []string{"name"}, []string{"glob:*"})
		published := make(chan struct{})
		go func() { defer close(published); publishInTurn(t, rdb, many) }()
		if n := misplaced(t, s, many); n > 0 {
			t.Errorf("%d of %d messages came out of order", n, many)
		}
		<-published
	})
}

// TestMiniredisNeedsThis fails once miniredis keeps the order of messages by itself.
// Then this package can go.
func TestMiniredisNeedsThis(t *testing.T) {
	rdb := redistest.Client(t, "redis://"+miniredis.RunT(t).Addr())
	s := subscribe(t, rdb, []string{"name"}, []string{"glob:*"})
	for range 20 {
		published := make(chan struct{})
		go func() { defer close(published); publishInTurn(t, rdb, many) }()
		n := misplaced(t, s, many)
		<-published
		if n > 0 {
			return
		}
	}
	t.Error("miniredis delivers in order what a connection gets by name and by glob; if it is quick with 10,000 subscriptions too, pkg/embedded can go")
}

// TestEachSubscriptionGetsACopy, also of what scripts publish, and PUBLISH counts them.
func TestEachSubscriptionGetsACopy(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		one := subscribe(t, rdb, []string{"a", "b"}, []string{"a*", "*", "c"})
		other := subscribe(t, rdb, []string{"a"}, nil)
		for want, script := range map[int64]string{4: "return redis.call('PUBLISH', 'a', 'x')", 2: "return redis.call('PUBLISH', 'b', 'x')"} {
			if n, err := rdb.Eval(t.Context(), script, nil).Int64(); err != nil || n != want {
				t.Errorf("%s: %d, %v, want %d", script, n, err, want)
			}
		}
		got := map[string]int{}
		for range 5 {
			m := next(t, one).(*redis.Message)
			got[m.Pattern+" "+m.Channel+" "+m.Payload]++
		}
		m := next(t, other).(*redis.Message)
		if want := map[string]int{" a x": 1, "a* a x": 1, "* a x": 1, " b x": 1, "* b x": 1}; fmt.Sprint(got) != fmt.Sprint(want) || m.Channel != "a" {
			t.Errorf("got %v and %v, want %v and one on a", got, m, want)
		}
	})
}

func TestUnsubscribe(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		s := subscribe(t, rdb, []string{"a", "b"}, []string{"g*"})
		_ = s.Unsubscribe(t.Context(), "a")
		_ = s.PUnsubscribe(t.Context())
		for _, want := range []redis.Subscription{{Kind: "unsubscribe", Channel: "a", Count: 2}, {Kind: "punsubscribe", Channel: "g*", Count: 1}} {
			if m, ok := next(t, s).(*redis.Subscription); !ok || *m != want {
				t.Errorf("got %v, want %v", m, want)
			}
		}
		numbers := rdb.PubSubNumSub(t.Context(), "a", "b").Val()
		patterns, channels := rdb.PubSubNumPat(t.Context()).Val(), rdb.PubSubChannels(t.Context(), "*").Val()
		if numbers["a"] != 0 || numbers["b"] != 1 || patterns != 0 || len(channels) != 1 || channels[0] != "b" {
			t.Errorf("subscribers %v, %d patterns, channels %v are left; want one of b", numbers, patterns, channels)
		}
		_ = s.Close()
		redistest.Eventually(t, patience, "the subscriptions of a closed connection are gone", func() bool {
			return rdb.Publish(t.Context(), "b", "x").Val() == 0 && len(rdb.PubSubChannels(t.Context(), "").Val()) == 0
		})
	})
}

// TestSlowSubscriber: PUBLISH waits for a connection that does not read, and goes on
// when it is closed.
func TestSlowSubscriber(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	s := subscribe(t, rdb, []string{"name"}, []string{"glob:*"})
	message := make([]byte, 64<<10)
	closing := time.AfterFunc(100*time.Millisecond, func() { _ = s.Close() })
	defer closing.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		n, err := rdb.Publish(ctx, "name", message).Result()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

// TestRestart: subscriptions end with the connections, and new ones are in order.
func TestRestart(t *testing.T) {
	r := embedded.New()
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	addr := r.Addr()
	r.Close()
	if err := r.Restart(); err != nil {
		t.Fatal(err)
	}
	if r.Addr() != addr {
		t.Errorf("it is at %s now, and was at %s", r.Addr(), addr)
	}
	rdb := redistest.Client(t, "redis://"+r.Addr())
	r.SetError("OOM no")
	if err := rdb.Publish(t.Context(), "a", "x").Err(); err == nil || err.Error() != "OOM no" {
		t.Errorf("PUBLISH: %v, want the error set", err)
	}
	r.SetError("")
	subscribe(t, rdb, []string{"a"}, []string{"*"})
	if n := rdb.Publish(t.Context(), "a", "x").Val(); n != 2 {
		t.Errorf("%d subscriptions, want 2", n)
	}
}
