package deadline

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// Everything that falls due is seen to once, however many nodes look. The owner's
// script refuses what comes early.
func TestWhatFallsDueIsSeenTo(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		o := newOwner(t, rdb, Commands)
		o.run()
		o.run()
		o.run()
		all := names("command", 300)
		var writers sync.WaitGroup
		for i := range 3 {
			writers.Go(func() {
				for _, name := range all[i*100 : i*100+100] {
					o.set(name, rand.N(200*time.Millisecond))
				}
			})
		}
		writers.Wait()
		o.expect(all...)
	})
}

func scores(t *testing.T, rdb redis.UniversalClient, key string) map[string]time.Time {
	t.Helper()
	all := map[string]time.Time{}
	for _, z := range rdb.ZRangeWithScores(t.Context(), key, 0, -1).Val() {
		all[z.Member.(string)] = time.UnixMilli(int64(z.Score))
	}
	return all
}

// A deadline that moved fires where it is now, and one that was cleared does not.
func TestMovedAndCleared(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		o := newOwner(t, rdb, Grace)
		o.set("later", 0)
		o.set("later", time.Hour)
		o.set("sooner", time.Hour)
		o.set("sooner", 0)
		o.set("gone", 0)
		o.clear("gone")
		o.run()
		o.expect("sooner")
		o.set("last", 0)
		o.expect("last")
		if o.times("gone") > 0 || o.times("later") > 0 {
			t.Errorf("handed over: gone %d times, later %d times", o.times("gone"), o.times("later"))
		}
	})
}

// What a handler leaves holds up nothing else in its bucket, and comes again.
func TestLeftBehind(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		o := newOwner(t, rdb, Commands)
		stubborn := map[string]bool{}
		o.leaves = func(id string) error {
			if stubborn[id] {
				return errors.New("not yet")
			}
			return nil
		}
		// One bucket: all ids beside each other.
		bucket, due := keys.Bucket("app", "c"), o.due("c")
		var calls []*redisconn.Call
		for i := range 5 * idsAtOnce / 2 {
			id := fmt.Sprint("id", i)
			stubborn[id] = i < 3*idsAtOnce/2
			calls = append(calls, &redisconn.Call{Script: setScript, Keys: []string{due}, Args: []any{id, i - 1000}})
		}
		calls = append(calls, Touch(keys, Set{Commands, bucket, 0}))
		if err := redisconn.Exec(t.Context(), rdb, calls); err != nil {
			t.Fatal(err)
		}
		log := &logged{}
		w := o.worker(slog.New(slog.NewTextHandler(log, nil)))
		if _, err := w.poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.rounds.Wait()
		if n := rdb.ZCard(t.Context(), due).Val(); n != 3*idsAtOnce/2 {
			t.Fatalf("%d are left, want %d", n, 3*idsAtOnce/2)
		}
		o.run()
		redistest.Eventually(t, patience, "they come again", func() bool { return o.times("id0") > 3 })
		if n := log.count("not yet"); n != 1 {
			t.Errorf("the log has it %d times", n)
		}
		o.mu.Lock()
		clear(stubborn)
		o.mu.Unlock()
		redistest.Eventually(t, patience, "all are seen to", func() bool { return rdb.ZCard(t.Context(), due).Val() == 0 })
	})
}

// A node dies with buckets in hand: another gets them when the lease ends.
func TestDeadNode(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		o := newOwner(t, rdb, Will)
		all := names("will", 20)
		for _, name := range all {
			o.set(name, 0)
		}
		dead := o.worker(slog.New(slog.DiscardHandler)).look([]Kind{Will})
		if err := redisconn.Exec(t.Context(), rdb, []*redisconn.Call{dead}); err != nil {
			t.Fatal(err)
		}
		if taken, err := dead.Reply.Slice(); err != nil || len(taken) < 10 {
			t.Fatalf("it took %v, %v", taken, err)
		}
		o.run()
		o.expect(all...)
	})
}

// A node looks into a bucket after a writer's Touch, and before its script.
func TestLookBetweenTouchAndScript(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		o := newOwner(t, rdb, Commands)
		w := o.worker(slog.New(slog.DiscardHandler))
		touch := Touch(keys, Set{Commands, keys.Bucket("app", "c"), 0})
		if err := redisconn.Exec(t.Context(), rdb, []*redisconn.Call{touch}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.rounds.Wait()
		if err := redisconn.Exec(t.Context(), rdb, []*redisconn.Call{o.write("c", 0)}); err != nil {
			t.Fatal(err)
		}
		o.run()
		o.expect("c")
	})
}

// A bucket that has nothing more is forgotten once no script can be under way.
func TestIndexIsEmptied(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		o := newOwner(t, rdb, Commands)
		w := o.worker(slog.New(slog.DiscardHandler))
		w.pace.flight = 0
		o.set("c", 0)
		redistest.Eventually(t, patience, "the index is empty", func() bool {
			if _, err := w.poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.rounds.Wait()
			return rdb.Exists(t.Context(), keys.DueIndex(), keys.DueTouched()).Val() == 0
		})
		o.expect("c")
	})
}

// The index is gone; what it led to is not.
func TestLostIndex(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		o := newOwner(t, rdb, Commands)
		all := names("command", 50)
		for _, name := range all {
			o.set(name, 50*time.Millisecond)
		}
		o.set("late", time.Hour)
		rdb.Del(t.Context(), keys.DueIndex(), keys.DueTouched(), keys.DueTurns())
		o.run()
		o.expect(all...)
		redistest.Eventually(t, patience, "a later one is known as well", func() bool {
			at := scores(t, rdb, keys.DueIndex())[Member(Commands, keys.Bucket("app", "late"))]
			return time.Until(at) > time.Minute
		})
		redistest.Eventually(t, patience, "the index is built", func() bool {
			building, err := rdb.HExists(t.Context(), keys.DueTurns(), "building").Result()
			return err == nil && !building
		})
	})
}

// Redis comes back empty, or is emptied: what is set from then on is seen to.
func TestRedisLosesItsData(t *testing.T) {
	server := redistest.Start(t)
	o := newOwner(t, server.Client(), Grace)
	o.run()
	o.set("before", 0)
	o.expect("before")
	server.Restart()
	redistest.Eventually(t, patience, "Redis is back", func() bool { return o.rdb.Ping(t.Context()).Err() == nil })
	o.set("after a restart", 0)
	o.expect("after a restart")
	redistest.Empty(t, o.rdb)
	o.set("after FLUSHALL", 0)
	o.expect("after FLUSHALL")
}

// Kinds that this node does not know wait for one that does; what is no bucket at all
// is dropped.
func TestForeignEntries(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		o, other := newOwner(t, rdb, Commands), newOwner(t, rdb, Will)
		log := &logged{}
		w := o.worker(slog.New(slog.NewTextHandler(log, nil)))
		other.set("will", 0)
		o.set("command", 0)
		for _, entry := range []string{"commands nonsense", "commands ", "commands fw:{app.1}:"} {
			rdb.ZAdd(t.Context(), keys.DueIndex(), redis.Z{Score: 1, Member: entry})
		}
		if _, err := w.poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.rounds.Wait()
		o.expect("command")
		if n := log.count("cannot be read"); n != 3 {
			t.Errorf("the log has it %d times", n)
		}
		for entry := range scores(t, rdb, keys.DueIndex()) {
			if entry != Member(Will, keys.Bucket("app", "will")) && entry != Member(Commands, keys.Bucket("app", "command")) {
				t.Errorf("%q is left", entry)
			}
		}
		other.run()
		other.expect("will")
	})
}

// A node that stops waits for its handlers.
func TestStopWaits(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	o := newOwner(t, rdb, Commands)
	begun, finish := make(chan struct{}), make(chan struct{})
	o.leaves = func(string) error {
		close(begun)
		<-finish
		return nil
	}
	o.set("c", 0)
	stop := o.run()
	<-begun
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("Run ended while a handler ran")
	default:
	}
	close(finish)
	<-stopped
	o.expect("c")
}
