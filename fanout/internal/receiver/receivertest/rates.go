package receivertest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
)

// bucketOf is a bucket that gets no second token while a test runs.
func bucketOf(app, name string, burst int) quota.Bucket {
	return quota.Bucket{Key: keys.RESTRate(app, name), PerSec: 1, Burst: burst}
}

// rated makes a batch of messages 0, 1, 2 … of one sender each: "" is a socket,
// which has no rate, and every other its bucket.
func rated(b *send.Sender, c quota.Counter, app, senders string, bursts map[rune]int) send.Batch {
	batch := send.Batch{Counter: c}
	of := map[rune]int{}
	for i, sender := range senders {
		o := b.Prepare(&envelope.Message{App: app, Channel: "c", From: "p", Data: []byte(strconv.Itoa(i))})
		o.CountSubscribers = true
		batch.Messages = append(batch.Messages, o)
		if sender == '-' {
			continue
		}
		r, ok := of[sender]
		if !ok {
			r = len(batch.Rates)
			of[sender] = r
			batch.Rates = append(batch.Rates, send.Rate{Bucket: bucketOf(app, string(sender), bursts[sender])})
		}
		batch.Rates[r].Messages = append(batch.Rates[r].Messages, i)
	}
	return batch
}

// outcome tells of each message what became of it: "." published, "r" over its
// rate, "q" over the cap.
func outcome(t *testing.T, batch send.Batch, subscribers int64) string {
	t.Helper()
	var all strings.Builder
	for i, o := range batch.Messages {
		switch {
		case o.Accepted && !o.OverRate && o.RetryAfter == 0 && o.Subscribers == subscribers:
			all.WriteByte('.')
		case !o.Accepted && o.OverRate && o.RetryAfter > 0 && o.RetryAfter <= time.Second && o.Subscribers == 0:
			all.WriteByte('r')
		case !o.Accepted && !o.OverRate && o.RetryAfter == 0 && o.Subscribers == 0:
			all.WriteByte('q')
		default:
			t.Errorf("message %d: accepted %v, over its rate %v (next in %v), %d subscribers", i, o.Accepted, o.OverRate, o.RetryAfter, o.Subscribers)
		}
	}
	return all.String()
}

func tryPublish(b *send.Sender, batches ...send.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return b.Send(ctx, batches)
}

// testRates: the messages of several keys and of sockets in one batch, held
// against a bucket each and then against the cap of the app.
func testRates(t *testing.T, s *system) {
	for i, test := range []struct {
		name    string
		limit   int64
		senders string // of each message: '-' a socket, else a key
		bursts  map[rune]int
		want    string
		counted int
	}{
		{"all within", 100, "a-b", map[rune]int{'a': 1, 'b': 1}, "...", 3},
		{"sockets have no rate", 100, "-----", nil, ".....", 5},
		{"the first of a key get its tokens", 100, "aaaa", map[rune]int{'a': 3}, "...r", 3},
		{"a bucket each", 100, "abcabcabc", map[rune]int{'a': 1, 'b': 9, 'c': 2}, "...r..r.r", 6},
		{"one key is over and holds up nobody", 100, "aa-ab-a", map[rune]int{'a': 1, 'b': 1}, ".r.r..r", 4},
		{"all over", 100, "aab", map[rune]int{}, "rrr", 0},
		{"the cap counts what is within its rate", 3, "aa-b-a", map[rune]int{'a': 1, 'b': 5}, ".r..qr", 4},
		{"no cap", quota.Unlimited, "aab", map[rune]int{'a': 1, 'b': 1}, ".r.", 2},
		{"a full plan", 0, "a-a", map[rune]int{'a': 1}, "qqr", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, app := s.node(), fmt.Sprint("app", i)
			n.subscribe(app, "c", 7)
			batch := rated(n.Sender, counter(app, test.limit), app, test.senders, test.bursts)
			if err := tryPublish(n.Sender, batch); err != nil {
				t.Fatal(err)
			}
			if got := outcome(t, batch, 7); got != test.want {
				t.Errorf("became %s, want %s", got, test.want)
			}
			// Not there at all if nothing is counted.
			if used, _ := s.Redis.Get(context.Background(), batch.Counter.Key).Int(); used != test.counted {
				t.Errorf("%d messages are counted, want %d", used, test.counted)
			}
			var want, got []string
			for j, became := range test.want {
				if became == '.' {
					want = append(want, strconv.Itoa(j))
				}
			}
			for _, d := range n.settle(n.Sender) {
				got = append(got, data(t, d))
			}
			if !slices.Equal(got, want) {
				t.Errorf("delivered %q, want %q", got, want)
			}
		})
	}
}

// testRatesRace: publishers on two nodes race for the tokens of one bucket and
// for the last messages of the plan, and both are kept to exactly.
func testRatesRace(t *testing.T, s *system) {
	const burst, limit, calls, perCall = 301, 211, 20, 10
	n := s.node()
	n.subscribe("app", "c", 1)
	var mu sync.Mutex
	total := map[rune]int{}
	var all sync.WaitGroup
	for _, b := range []*send.Sender{n.Sender, s.publisher()} {
		all.Go(func() {
			for range calls {
				batch := rated(b, counter("app", limit), "app", strings.Repeat("a", perCall), map[rune]int{'a': burst})
				batch.Rates[0].Bucket.PerSec = 1
				if err := tryPublish(b, batch); err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, became := range outcome(t, batch, 1) {
					total[became]++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	used, err := s.Redis.Get(context.Background(), counter("app", limit).Key).Int()
	if err != nil || used != total['.']+total['q'] {
		t.Errorf("%d messages are counted (%v), want the %d that got a token", used, err, total['.']+total['q'])
	}
	// The bucket gets a token a second while this runs.
	if total['.'] != limit || used < burst || used > burst+int(patience/time.Second) {
		t.Errorf("%d published of %d, %d tokens taken of %d", total['.'], limit, used, burst)
	}
	if got := n.settle(n.Sender); len(got) != limit {
		t.Errorf("%d messages delivered, want %d", len(got), limit)
	}
}

// testTokensAreShared: a bucket is one, whether a token is taken with a message or
// by itself, and also after Redis has forgotten the scripts (it was started again)
// and is sent them anew.
func testTokensAreShared(t *testing.T, s *system) {
	from := s.publisher()
	client := s.Client()
	take := func(want int) {
		t.Helper()
		call := bucketOf("app", "a", 5).Take(2)
		_ = redisconn.Exec(context.Background(), client, []*redisconn.Call{call}) // read below
		got, next, err := quota.Taken(call)
		if err != nil || got != want || (want < 2) != (next > 0) {
			t.Errorf("got %d tokens, the next in %v (%v); want %d", got, next, err, want)
		}
	}
	batch := rated(from, unlimited("app"), "app", "aa", map[rune]int{'a': 5})
	if err := tryPublish(from, batch); err != nil {
		t.Fatal(err)
	}
	take(2) // 1 left
	if err := s.Redis.ScriptFlush(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	batch = rated(from, unlimited("app"), "app", "a-a", map[rune]int{'a': 5})
	if err := tryPublish(from, batch); err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, batch, 0); got != "..r" {
		t.Errorf("became %s, want ..r", got)
	}
	take(0)
}

// testBrokenBucket: messages whose tokens cannot be counted are not published, and
// another app's are.
func testBrokenBucket(t *testing.T, s *system) {
	n := s.node()
	ctx := context.Background()
	if err := s.Redis.Set(ctx, bucketOf("broken", "a", 1).Key, "no bucket", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // with a script that Redis does not know, and with one it does
		var batches []send.Batch
		for _, app := range []string{"first", "broken", "last"} {
			n.subscribe(app, "c", 2)
			batches = append(batches, rated(n.Sender, counter(app, 9), app, "a-", map[rune]int{'a': 100}))
		}
		if err := tryPublish(n.Sender, batches...); err == nil {
			t.Error("no error although a bucket is broken")
		}
		for i, want := range []string{"..", "qq", ".."} { // "q": neither published nor over its rate
			if got := outcome(t, batches[i], 2); got != want {
				t.Errorf("batch %d became %s, want %s", i, got, want)
			}
		}
		if used := s.Redis.Exists(ctx, counter("broken", 9).Key).Val(); used != 0 {
			t.Error("messages are counted although nobody could tell their rate")
		}
	}
	if got := n.settle(n.Sender); len(got) != 8 {
		t.Errorf("%d messages delivered, want 8", len(got))
	}
}
