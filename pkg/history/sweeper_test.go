package history_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/history"
	"fleetwire/pkg/idempotency"
	"fleetwire/pkg/redisconn/redistest"
)

// sweeping is a process that also sweeps.
type sweeping struct {
	*process
	*history.Sweeper
	document *apps.Directory
	evicted  map[history.Eviction]int
}

func newSweeping(t testing.TB, rdb redis.UniversalClient, rules string) *sweeping {
	s := &sweeping{process: newProcess(t, rdb, nil), evicted: map[history.Eviction]int{}}
	s.Sweeper = history.NewSweeper(history.SweeperOptions{
		Redis: rdb, Keys: keys,
		Directory: func() *apps.Directory { return s.document },
		Evicted:   func(why history.Eviction, n int) { s.evicted[why] += n },
	})
	s.use(rules)
	return s
}

// use puts another document in force.
func (s *sweeping) use(rules string) {
	s.document = directoryOf(s.t, rules)
	s.app = s.document.Apps()[0]
}

// due are the ids of the deadlines of the channel's bucket.
func (s *sweeping) due(channel string) string {
	return fmt.Sprint(s.rdb.ZRange(context.Background(), keys.Bucket("app", channel).Due("history"), 0, -1).Val())
}

// sweep has the handler see to a deadline of the buckets of these channels.
func (s *sweeping) sweep(id string, channels ...string) {
	s.t.Helper()
	var due []deadline.Due
	for _, c := range channels {
		due = append(due, deadline.Due{App: "app", Bucket: keys.Bucket("app", c), IDs: []string{id}})
	}
	if err := s.Due(context.Background(), due); err != nil {
		s.t.Fatal(err)
	}
}

// left are the keys of history that Redis has.
func (s *sweeping) left() (all []string) {
	for _, key := range s.rdb.Keys(context.Background(), "*").Val() {
		if strings.Contains(key, "}:last:") || strings.Contains(key, "}:history") && !strings.HasSuffix(key, "-rules") {
			all = append(all, key)
		}
	}
	return all
}

// bytes is what the app's messages take.
func (s *sweeping) bytes() (sum int64) {
	for b := range keys.Buckets("app") {
		n, _ := s.rdb.Get(context.Background(), b.HistoryBytes()).Int64()
		sum += n
	}
	return sum
}

func TestExpires(t *testing.T) {
	clock, rdb := redistest.Clocked(t)
	s := newSweeping(t, rdb, rules)
	for _, c := range []string{"one/a", "three/a"} {
		s.publish(c, "1")
		clock.Pass(30 * time.Second)
		s.publish(c, "2")
		clock.Pass(29 * time.Second)
	}
	at := s.last("three/a", 9).Position
	s.want(s.last("one/a", 9), "2:") // 2 was published 88 s ago
	s.want(s.last("three/a", 9), "2: 1=1 2=2")
	clock.Pass(2 * time.Second)
	s.want(s.last("three/a", 9), "2: 2=2")
	before := s.bytes()
	s.sweep("ttl", "one/a", "three/a")
	if want := map[history.Eviction]int{history.EvictedByTTL: 2}; !maps.Equal(s.evicted, want) {
		t.Errorf("evicted %v, want %v", s.evicted, want)
	}
	if after := s.bytes(); after >= before || after <= 400 {
		t.Errorf("%d bytes, and %d before", after, before)
	}
	s.want(s.last("three/a", 9), "2: 2=2")
	clock.Pass(time.Minute)
	s.sweep("ttl", "three/a")
	s.want(s.since("three/a", at), "recovered 2:")
	if got := s.bytes(); got != 400 {
		t.Errorf("positions alone take %d bytes, want 200 each", got)
	}
	s.publish("three/a", "3")
	s.want(s.since("three/a", at), "recovered 3: 3=3")
	clock.Pass(29 * 24 * time.Hour)
	s.want(s.since("three/a", at), "3:") // 3 has expired, and counts
	clock.Pass(5 * 24 * time.Hour)
	s.sweep("ttl", "one/a", "three/a")
	if left := s.left(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if s.due("three/a") != "[]" {
		t.Errorf("deadlines %s", s.due("three/a"))
	}
	if begun := s.since("three/a", at); begun.Position.Epoch == at.Epoch || begun.Recovered {
		t.Errorf("a position that Redis has forgotten goes on: %+v", begun.Position)
	}
}

// A message to a channel that has been empty is swept in time, though the position would
// stay for long.
func TestExpiresAgain(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSweeping(t, rdb, rules)
		for _, c := range []string{"one/a", "three/a"} {
			index := keys.Bucket("app", c).HistoryIndex()
			s.read(history.Read{Channel: c})
			if score := rdb.ZScore(context.Background(), index, c).Val(); time.UnixMilli(int64(score)).Before(time.Now().Add(30 * 24 * time.Hour)) {
				t.Errorf("%s: a position is looked at %v", c, time.UnixMilli(int64(score)))
			}
			for range 2 {
				s.publish(c, "1")
				if score := rdb.ZScore(context.Background(), index, c).Val(); time.UnixMilli(int64(score)).After(time.Now().Add(time.Minute)) {
					t.Errorf("%s: a message is looked at %v", c, time.UnixMilli(int64(score)))
				}
				s.forget(c)
			}
			if s.due(c) != "[ttl]" {
				t.Errorf("deadlines %s", s.due(c))
			}
		}
		if n := rdb.ZCard(context.Background(), keys.DueIndex()).Val(); n != 2 {
			t.Errorf("nodes look into %d buckets, want 2", n)
		}
	})
}

func TestBudget(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSweeping(t, rdb, `{"pattern":"one/*","size":1,"ttlSec":60},{"pattern":"many/*","size":1000,"ttlSec":600}`)
		data := `"` + strings.Repeat("x", 10_000) + `"`
		// One channel after the other, so the first of both kinds are the oldest.
		channel := func(i int) string { return []string{"one/", "many/"}[i%2] + fmt.Sprint(i/2%40) }
		const n = 160
		for i := range n {
			s.publish(channel(i), data)
		}
		if s.due("many/0") != "[bytes ttl]" && s.due("many/0") != "[ttl bytes]" {
			t.Errorf("deadlines %s", s.due("many/0"))
		}
		s.sweep("bytes", "many/0", "many/1")
		if got, most := s.bytes(), int64(1<<20); got > most || got < most*9/10 {
			t.Errorf("%d bytes are left of %d", got, most)
		}
		// In many/* both messages stay, so 120 were there, of some 10,200 bytes each.
		if got := s.evicted[history.EvictedByBytes]; got < 15 || got > 30 {
			t.Errorf("evicted %v", s.evicted)
		}
		gone := false
		for i := n - 1; i >= 0; i-- {
			c := channel(i)
			r := s.last(c, 1000)
			want := uint64(i/80 + 1)
			there := len(r.Messages) > 0 && r.Messages[0].Offset <= want
			if i < 80 && i%2 == 0 {
				continue // another took its place
			}
			if gone && there {
				t.Errorf("message %d of %s is there, and a newer one is not", i, c)
			}
			gone = gone || !there
			if r.Position.Offset != 2 {
				t.Errorf("%s is at %d", c, r.Position.Offset)
			}
		}
		if s.due("many/0") != "[ttl]" {
			t.Errorf("deadlines %s", s.due("many/0"))
		}
	})
}

// Channels that were only subscribed to take less than half of the budget from messages.
func TestBudgetOfPositions(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := newSweeping(t, rdb, rules)
	data := `"` + strings.Repeat("x", 10_000) + `"`
	for i := range 40 {
		s.publish(fmt.Sprint("one/kept", i), data)
	}
	const n = 4000
	var all []*history.Read
	for i := range n {
		all = append(all, &history.Read{App: s.app, Channel: fmt.Sprint("one/", i)})
	}
	for ; len(all) > 0; all = all[min(500, len(all)):] {
		if err := s.store.Read(context.Background(), all[:min(500, len(all))]); err != nil {
			t.Fatal(err)
		}
	}
	s.sweep("bytes", "one/0")
	if got, most := s.bytes(), int64(1<<20); got > most {
		t.Errorf("%d bytes are left of %d", got, most)
	}
	for i := range 40 {
		if r := s.last(fmt.Sprint("one/kept", i), 1); len(r.Messages) != 1 {
			t.Errorf("message %d made room for positions", i)
		}
	}
}

// Rules that change, and channels that remember no more.
func TestRulesChange(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSweeping(t, rdb, `{"pattern":"c","size":1,"ttlSec":60}`)
		at := s.publish("c", "1")
		s.publish("c", "2")
		s.use(`{"pattern":"c","size":3,"ttlSec":60}`)
		s.want(s.last("c", 9), "2: 2=2")
		s.publish("c", "3")
		s.publish("c", "4")
		s.want(s.last("c", 9), "4: 2=2 3=3 4=4")
		s.want(s.since("c", at), "recovered 4: 2=2 3=3 4=4")
		s.use(`{"pattern":"c","size":1,"ttlSec":60}`)
		s.want(s.last("c", 9), "4: 4=4")
		s.publish("c", "5")
		s.want(s.last("c", 9), "5: 5=5")
		s.use(`{"pattern":"c","size":3,"ttlSec":60}`)
		s.want(s.last("c", 9), "5: 5=5")
		s.publish("c", "6")
		s.want(s.last("c", 9), "6: 5=5 6=6")

		s.use(``)
		if at := s.publish("c", "7"); at.Epoch != "" {
			t.Errorf("remembered at %v", at)
		}
		s.sweep("rules", "c")
		if s.evicted[history.EvictedByRules] != 2 {
			t.Errorf("evicted %v", s.evicted)
		}
		s.use(`{"pattern":"c","size":3,"ttlSec":60}`)
		if r := s.since("c", at); r.Position.Epoch == at.Epoch || len(r.Messages) > 0 || r.Recovered {
			t.Errorf("%s, in the epoch of before", shown(r))
		}
	})
}

// A longer TTL counts for the messages that are there. Messages that had expired do
// not come back, swept or not, and by whatever the channel is looked at first.
func TestLongerTTL(t *testing.T) {
	for _, size := range []int{1, 3} {
		for name, look := range map[string]func(s *sweeping){
			"read":    func(s *sweeping) { s.last("c", 9) },
			"publish": func(s *sweeping) { s.publish("c", "4") },
			"sweep":   func(s *sweeping) { s.sweep("rules", "c") },
		} {
			t.Run(fmt.Sprintf("%s of size %d", name, size), func(t *testing.T) {
				clock, rdb := redistest.Clocked(t)
				rule := func(ttl int) string { return fmt.Sprintf(`{"pattern":"c","size":%d,"ttlSec":%d}`, size, ttl) }
				s := newSweeping(t, rdb, rule(60))
				at := s.publish("c", "1")
				clock.Pass(30 * time.Second)
				s.publish("c", "2")
				s.publish("c", "3")
				clock.Pass(31 * time.Second)
				s.use(rule(600))
				look(s)
				clock.Pass(500 * time.Second)
				want := map[bool]string{
					true:  "3: 2=2 3=3",
					false: "4: 2=2 3=3 4=4",
				}[name != "publish"]
				if size == 1 {
					want = map[bool]string{true: "3: 3=3", false: "4: 4=4"}[name != "publish"]
				}
				s.want(s.last("c", 9), want)
				if size > 1 {
					s.want(s.since("c", at), "recovered "+want)
				}
				// A shorter one counts at once, and what has expired by it is gone.
				s.use(rule(100))
				if s.last("c", 9); name == "sweep" {
					s.sweep("rules", "c")
				}
				s.use(rule(6000))
				look(s)
				s.want(s.last("c", 9), map[bool]string{true: "3:", false: "5: 5=4"}[name != "publish"])
				if name == "publish" {
					return
				}
				s.sweep("ttl", "c")
				if got := s.bytes(); got != 200 {
					t.Errorf("a position alone takes %d bytes, want 200", got)
				}
				clock.Pass(34 * 24 * time.Hour)
				s.sweep("ttl", "c")
				if left := s.left(); len(left) > 0 || s.due("c") != "[]" {
					t.Errorf("left %q, deadlines %s", left, s.due("c"))
				}
			})
		}
	}
}

// Messages that a smaller size leaves no room for are counted as such, and beside those that
// have expired.
func TestSmallerSizeIsCounted(t *testing.T) {
	clock, rdb := redistest.Clocked(t)
	s := newSweeping(t, rdb, `{"pattern":"c","size":10,"ttlSec":60}`)
	for i := range 10 {
		s.publish("c", fmt.Sprint(i+1))
		clock.Pass(10 * time.Second)
	}
	s.use(`{"pattern":"c","size":8,"ttlSec":60}`)
	s.sweep("rules", "c")
	s.want(s.last("c", 9), "10: 6=6 7=7 8=8 9=9 10=10")
	if want := (map[history.Eviction]int{history.EvictedBySize: 2, history.EvictedByTTL: 3}); !maps.Equal(s.evicted, want) {
		t.Errorf("evicted %v, want %v", s.evicted, want)
	}
}

// That the rules have changed is seen once for all nodes.
func TestRulesAreFollowed(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	s := newSweeping(t, rdb, rules)
	s.follow()
	s.publish("one/a", "1")
	other := newSweeping(t, rdb, rules)
	other.follow()
	if s.due("one/a") != "[ttl]" {
		t.Errorf("a node that starts has others look: %s", s.due("one/a"))
	}
	s.use(`{"pattern":"two/*","size":1,"ttlSec":60}`)
	s.follow()
	if s.due("one/a") != "[rules ttl]" {
		t.Errorf("deadlines %s", s.due("one/a"))
	}
	s.sweep("rules", "one/a")
	s.sweep("ttl", "one/a")
	if left := s.left(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// follow has the sweeper look at the document.
func (s *sweeping) follow() {
	s.t.Helper()
	if !s.Follow(context.Background()) {
		s.t.Error("the document was not followed")
	}
}

func TestIdempotencyKeysAreBounded(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := newSweeping(t, rdb, rules)
	ctx := context.Background()
	in := keys.Bucket("app", "c")
	now := float64(time.Now().Add(-5 * time.Minute).UnixMilli())
	var members []redis.Z
	for i := range 100_500 {
		members = append(members, redis.Z{Score: now + float64(i), Member: in.Idempotency(fmt.Sprint(i))[len(in):]})
	}
	for ; len(members) > 0; members = members[min(10_000, len(members)):] {
		rdb.ZAdd(ctx, in.IdempotencyIndex(), members[:min(10_000, len(members))]...)
	}
	rdb.Set(ctx, in.Idempotency("0"), "x", 0)
	m := s.message("c", "1")
	m.IdempotencyKey = "k"
	s.door.Publish(ctx, m)
	if s.due("c") != "[keys]" {
		t.Errorf("deadlines %s", s.due("c"))
	}
	s.sweep("keys", "c")
	if n := rdb.ZCard(ctx, in.IdempotencyIndex()).Val(); n > 100_000 || n < 98_000 {
		t.Errorf("%d keys are left", n)
	}
	if rdb.Exists(ctx, in.Idempotency("0")).Val() != 0 {
		t.Error("the oldest is there")
	}
	if rdb.Exists(ctx, in.Idempotency(idempotency.ID("c", "k", "publish"))).Val() != 1 {
		t.Error("the one just used is gone")
	}
}

// beside is another channel of the same bucket.
func beside(prefix, channel string) string {
	for i := 0; ; i++ {
		if c := fmt.Sprint(prefix, i); keys.Bucket("app", c) == keys.Bucket("app", channel) {
			return c
		}
	}
}

// looked fails the test unless nodes look into the channel's bucket within a minute.
func (s *sweeping) looked(channel string) {
	s.t.Helper()
	at, err := s.rdb.ZScore(context.Background(), keys.DueIndex(), "history "+string(keys.Bucket("app", channel))).Result()
	if soon := time.Now().Add(time.Minute); err != nil || time.UnixMilli(int64(at)).After(soon) {
		s.t.Errorf("nodes look at %v (%v), want before %v", time.UnixMilli(int64(at)), err, soon)
	}
}

// A process died before it told nodes of a deadline, and the deadline has passed. The next
// channel of the bucket has nodes look at once, however late its own deadline is.
func TestOverdueDeadlineIsToldAgain(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSweeping(t, rdb, `{"pattern":"**","size":1,"ttlSec":600}`)
		for _, begin := range []func(channel string){
			func(c string) { s.publish(c, "1") },
			func(c string) { s.read(history.Read{Channel: c}) },
		} {
			redistest.Empty(t, rdb)
			s.publish("c", "1")
			rdb.Del(context.Background(), keys.DueIndex())
			passed := float64(time.Now().Add(-61 * time.Second).UnixMilli())
			rdb.ZAdd(context.Background(), keys.Bucket("app", "c").Due("history"), redis.Z{Score: passed, Member: "ttl"})
			begin(beside("next", "c"))
			s.looked("c")
		}
	})
}

// A position that comes first of its bucket to expire, in weeks, and passes the budget has
// nodes look at once.
func TestReadOverTheBudget(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSweeping(t, rdb, `{"pattern":"c","size":1,"ttlSec":864000},{"pattern":"**","size":1,"ttlSec":60}`)
		s.read(history.Read{Channel: "c"})
		rdb.Set(context.Background(), keys.Bucket("app", "c").HistoryBytes(), 1<<20, 0)
		s.read(history.Read{Channel: beside("next", "c")})
		s.looked("c")
	})
}
