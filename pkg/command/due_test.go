package command

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn/redistest"
)

// Commands end though nobody reads them: a node's worker sees to their deadlines.
func TestNobodyAsks(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Client())
	w.store.scripts = byRedisClock
	ctx, cancel := context.WithCancel(context.Background())
	worker := deadline.New(deadline.Options{
		Redis: w.rdb, Keys: w.keys, Log: slog.New(slog.DiscardHandler),
		Handlers: map[deadline.Kind]deadline.Handler{deadline.Commands: w.store.Due},
		Apps:     func() []string { return []string{"app"} },
	})
	stopped := make(chan struct{})
	go func() { worker.Run(ctx); close(stopped) }()
	defer func() { cancel(); <-stopped }()

	w.join("a")
	unclaimed := w.create(func(n *New) { n.TTL = 20 * time.Millisecond })
	unanswered := w.create(func(n *New) { n.Timeout, n.TTL = MinTimeout, time.Hour }) // which leaves time to claim it
	w.claim(unanswered, false, "a")
	status := func(id string) string {
		state, _, _ := strings.Cut(w.rdb.HGet(ctx, w.keys.Bucket("app", channel).Command(id[7:]), "state").Val(), " ")
		return state
	}
	redistest.Eventually(t, 20*time.Second, "both commands have ended", func() bool {
		return status(unclaimed) == string(Expired) && status(unanswered) == string(TimedOut)
	})
	redistest.Eventually(t, 20*time.Second, "no deadline is left", func() bool {
		return w.rdb.Exists(ctx, w.keys.Bucket("app", channel).Due(string(deadline.Commands))).Val() == 0
	})
}

// More peers fall due than one script sees to.
func TestManyFallDue(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		peers := names(1300)
		w.join(peers...)
		id := w.create(nil)
		for some := range slices.Chunk(peers, 130) {
			w.claim(id, false, some...)
		}
		w.pass(30000)
		due := []deadline.Due{{App: "app", Bucket: w.keys.Bucket("app", channel), IDs: []string{id[7:], "unknown"}}}
		if err := w.store.Due(context.Background(), due); err != nil {
			t.Fatal(err)
		}
		w.wants(id, TimedOut, Counts{TimedOut: 1300})
		if n := w.rdb.ZCard(context.Background(), w.keys.Bucket("app", channel).Due(string(deadline.Commands))).Val(); n != 0 {
			t.Errorf("%d deadlines are left", n)
		}
	})
}

// The oldest ended commands go when the app has no room; those that have not ended stay.
func TestBudget(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		w.join("a")
		large := func(n *New) { n.Data = []byte(`"` + strings.Repeat("x", 30<<10) + `"`); n.Timeout = time.Hour }
		open := w.create(large)
		w.claim(open, false, "a")
		var ended []string
		for i := range 60 {
			id := w.create(func(n *New) { large(n); n.IdempotencyKey = fmt.Sprint(i) })
			w.claim(id, false, "a")
			w.answer(id, "a", Succeeded, "")
			w.store.Finish() // so that the order is known
			ended = append(ended, id)
		}
		page, err := w.store.List(ctx, "app", channel, "", "", 500)
		if err != nil {
			t.Fatal(err)
		}
		var kept []string
		for next := page; ; {
			size := 0
			for _, c := range next.Commands {
				kept, size = append(kept, c.ID), size+len(c.Data)
			}
			if size > MaxPageBytes || size < MaxPageBytes/2 && next.Next != "" {
				t.Errorf("a page has %d commands with %d bytes of data, and is the last: %v", len(next.Commands), size, next.Next == "")
			}
			if next.Next == "" {
				break
			}
			if next, err = w.store.List(ctx, "app", channel, "", next.Next, 500); err != nil {
				t.Fatal(err)
			}
		}
		slices.Reverse(kept)
		n := len(kept) - 1
		if n < 25 || n > 34 || kept[0] != open || !slices.Equal(kept[1:], ended[60-n:]) {
			t.Errorf("%d of 60 ended commands are kept in a megabyte, and the open one: %v", n, kept[0] == open)
		}
		// What was forgotten leaves nothing but its idempotency key.
		keys := w.rdb.Keys(ctx, "*"+ended[0][7:]+"*").Val()
		if len(keys) > 0 {
			t.Errorf("left over: %q", keys)
		}
		again := w.with(func(n *New) { large(n); n.IdempotencyKey = "0" })
		if created, err := w.store.Create(ctx, again); created.ID != ended[0] || !created.Repeated || err != nil {
			t.Errorf("the key of a forgotten command: %+v %v", created, err)
		}
	})
}

// Everything that Redis keeps of an ended command goes by itself.
func TestEndedCommandsExpire(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	w := newWorld(t, rdb)
	w.join("a")
	for i := range 3 {
		id := w.create(func(n *New) { n.IdempotencyKey = fmt.Sprint(i); n.TTL = time.Minute })
		w.claim(id, true, "a")
		w.answer(id, "a", Succeeded, "1")
		w.store.Finish()
	}
	commands := 0
	for _, key := range w.rdb.Keys(context.Background(), "*").Val() {
		ttl := m.TTL(key)
		isOurs := strings.Contains(key, ":command") && !strings.Contains(key, ":due:") || strings.Contains(key, ":idempotency:")
		if isOurs && (ttl <= 0 || ttl > 16*24*time.Hour) {
			t.Errorf("%s expires in %v", key, ttl)
		}
		isKept := strings.Contains(key, ":command:") || strings.Contains(key, ":idempotency:")
		if isKept && (ttl > 24*time.Hour || ttl < 24*time.Hour-time.Minute) {
			t.Errorf("%s expires in %v, want 24 h", key, ttl)
		}
		if strings.Contains(key, ":command:") {
			commands++
		}
	}
	if commands != 3 {
		t.Errorf("%d commands are kept, want 3", commands)
	}
}
