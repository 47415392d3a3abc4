package redisconn_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

var (
	// push appends to a list, so that what ran, how often and in what order can be read.
	push = redisconn.NewScript(`redis.call('RPUSH', KEYS[1], ARGV[1]) return ARGV[1]`)
	// add is another script that does the same.
	add = redisconn.NewScript(`return redis.call('RPUSH', KEYS[1], ARGV[1]) and ARGV[1]`)
)

func call(script *redisconn.Script, key, arg string) *redisconn.Call {
	return &redisconn.Call{Script: script, Keys: []string{key}, Args: []any{arg}}
}

func list(t *testing.T, rdb *redis.Client) string {
	t.Helper()
	all, err := rdb.LRange(context.Background(), "list", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "")
}

func TestExecRunsEachOnceInOrder(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		ctx := context.Background()
		trips := countTrips(rdb)
		for round, want := range []int64{2, 1} { // the first time, Redis knows no script
			rdb.Del(ctx, "list")
			trips.pipelines.Store(0)
			calls := []*redisconn.Call{call(push, "list", "a"), call(push, "list", "b"), call(push, "list", "c")}
			if err := redisconn.Exec(ctx, rdb, calls); err != nil {
				t.Fatal(err)
			}
			if got := list(t, rdb); got != "abc" {
				t.Errorf("round %d: ran %q, want abc", round, got)
			}
			for i, c := range calls {
				if got, err := c.Reply.Text(); err != nil || got != string("abc"[i]) {
					t.Errorf("round %d: reply %d is %q (%v)", round, i, got, err)
				}
			}
			if got := trips.pipelines.Load(); got != want {
				t.Errorf("round %d: %d round trips, want %d", round, got, want)
			}
		}
		// One script is gone, the other is not.
		if err := rdb.ScriptFlush(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if err := push.For(rdb).Load(ctx, rdb).Err(); err != nil {
			t.Fatal(err)
		}
		rdb.Del(ctx, "list")
		if err := redisconn.Exec(ctx, rdb, []*redisconn.Call{call(push, "list", "a"), call(add, "list", "b"), call(push, "list", "c")}); err != nil {
			t.Fatal(err)
		}
		if got := list(t, rdb); got != "acb" {
			t.Errorf("ran %q, want those that Redis knew first and each once: acb", got)
		}
	})
}

// Calls that may run twice run after those before them, also if Redis knew them and not those.
func TestExecInOrder(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		ctx := t.Context()
		if err := push.For(rdb).Load(ctx, rdb).Err(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"acbc", "abc"} { // the second time, Redis knows both scripts
			rdb.Del(ctx, "list")
			if err := redisconn.ExecInOrder(ctx, rdb, []*redisconn.Call{call(push, "list", "a"), call(add, "list", "b"), call(push, "list", "c")}); err != nil {
				t.Fatal(err)
			}
			if got := list(t, rdb); got != want {
				t.Errorf("ran %q, want %s", got, want)
			}
		}
	})
}

func TestExecNothing(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		if err := redisconn.Exec(context.Background(), rdb, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestExecOneFails: a call that fails takes none of the others with it, be they
// known to Redis or not.
func TestExecOneFails(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		ctx := context.Background()
		rdb.Set(ctx, "text", "x", 0)
		if err := push.For(rdb).Load(ctx, rdb).Err(); err != nil {
			t.Fatal(err)
		}
		for _, failing := range []*redisconn.Script{push, add} {
			for _, others := range []*redisconn.Script{push, add} {
				rdb.Del(ctx, "list")
				calls := []*redisconn.Call{call(failing, "text", "x"), call(others, "list", "a"), call(failing, "text", "x"), call(others, "list", "b")}
				err := redisconn.Exec(ctx, rdb, calls)
				if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
					t.Errorf("error %v, want the failing call's own", err)
				}
				if got := list(t, rdb); got != "ab" {
					t.Errorf("the others ran %q, want ab", got)
				}
				for i, c := range calls {
					if failed := c.Reply.Err() != nil; failed != (i%2 == 0) {
						t.Errorf("call %d: %v", i, c.Reply.Err())
					}
				}
				rdb.ScriptFlush(ctx)
				push.For(rdb).Load(ctx, rdb)
			}
		}
	})
}

func TestExecAfterRestart(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	ctx := context.Background()
	exec := func() error { return redisconn.Exec(ctx, rdb, []*redisconn.Call{call(push, "list", "a")}) }
	if err := exec(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := exec(); err == nil || !redisconn.Unreachable(err) {
		t.Errorf("without Redis: %v, want that it is unreachable", err)
	}
	server.Restart()
	var once sync.Once
	redistest.Eventually(t, patience, "scripts run again after a restart", func() bool {
		err := exec()
		if err != nil && !redisconn.Unreachable(err) {
			once.Do(func() { t.Errorf("after a restart: %v", err) })
		}
		return err == nil
	})
	if got := list(t, rdb); got != "a" {
		t.Errorf("ran %q, want a", got)
	}
}
