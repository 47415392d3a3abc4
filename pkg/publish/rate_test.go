package publish

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// rest is a message of a REST request of the key.
func rest(key *apps.Key, data string) Message {
	return Message{Grant: auth.KeyGrant(key, "server", nil), Channel: "c", From: "server", Data: []byte(data), TakeToken: true}
}

// limited is an app whose keys have this bucket.
func limited(id string, messages int64, perSec, burst int) *apps.App {
	a := app(id, messages)
	a.Limits.RESTPerSec, a.Limits.RESTBurst = perSec, burst
	return a
}

func keyOf(a *apps.App, id string) *apps.Key {
	key := everything(a).Key
	key.ID = id
	return key
}

// TestTokensByKey: the messages of each key take from its own bucket, those of
// sockets from none.
func TestTokensByKey(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	c := expect(9)
	one, two := limited("one", 9, 100, 200), limited("two", 9, 7, 9)
	a, b, other := keyOf(one, "a"), keyOf(one, "b"), keyOf(two, "c")
	replaced := keyOf(limited("one", 9, 1, 2), "a") // of a document that came meanwhile
	s.submit(t, message(one, "first"), c.of(""))
	<-s.sender.began
	for _, m := range []Message{rest(a, "1"), message(one, "1"), rest(other, "1"), rest(b, "1"), rest(a, "1"), message(two, "1"), rest(replaced, "1"), rest(other, "1")} {
		s.submit(t, m, c.of(""))
	}
	close(gate)
	c.wait(t)
	if rates := s.sender.calls[0][0].Rates; len(rates) != 0 {
		t.Errorf("a socket's message has the rates %v", rates)
	}
	want := [][]send.Rate{
		{
			{Bucket: quota.Bucket{Key: "fw:{one}:rest:a", PerSec: 100, Burst: 200}, Messages: []int{0, 3}},
			{Bucket: quota.Bucket{Key: "fw:{one}:rest:b", PerSec: 100, Burst: 200}, Messages: []int{2}},
			{Bucket: quota.Bucket{Key: "fw:{one}:rest:a", PerSec: 1, Burst: 2}, Messages: []int{4}},
		},
		{{Bucket: quota.Bucket{Key: "fw:{two}:rest:c", PerSec: 7, Burst: 9}, Messages: []int{0, 2}}},
	}
	for i, batch := range s.sender.calls[1] {
		if got := batch.Rates; !reflect.DeepEqual(got, want[i]) {
			t.Errorf("batch %d: rates %v\nwant %v", i, got, want[i])
		}
	}
}

func TestRateLimited(t *testing.T) {
	s := newStanding()
	s.sender.answer = func(batches []send.Batch) error {
		for i, o := range batches[0].Messages {
			o.Accepted, o.OverRate = i%2 == 0, i%2 == 1
			if o.OverRate {
				o.RetryAfter = 40 * time.Millisecond
			}
		}
		return nil
	}
	gate := s.hold()
	c := expect(3)
	key := keyOf(limited("app", 100, 1, 1), "sk_live_eager")
	s.submit(t, rest(key, "0"), c.of("0"))
	<-s.sender.began
	s.submit(t, rest(key, "1"), c.of("1"))
	s.submit(t, rest(key, "2"), c.of("2"))
	s.submit(t, rest(key, "3"), c.of("3"))
	results := make(chan Result, 1)
	go func() { results <- s.Publish(context.Background(), rest(key, "4")) }()
	redistest.Eventually(t, patience, "all wait", func() bool { return s.wait() == 4 })
	close(gate)
	if r := <-results; r.Err == nil || r.Err.Code != protocol.RateLimited || r.RetryAfter != 40*time.Millisecond || !strings.Contains(r.Err.Message, key.ID) {
		t.Errorf("got %v, to be tried again after %v; want rate_limited after 40ms", r.Err, r.RetryAfter)
	}
	if got := strings.Join(c.wait(t), ","); !strings.HasPrefix(got, "0,flush,1,2 rate_limited,3") {
		t.Errorf("told %s", got)
	}
	if s.seen("rate_limited") != 2 || s.seen("ok") != 3 {
		t.Errorf("observed %v", s.observed)
	}
}

// TestCheck says what Publish would, without Redis.
func TestCheck(t *testing.T) {
	s := newStanding()
	s.down.Store(true)
	key := keyOf(limited("app", 100, 1, 1), "k")
	if err := s.Check(rest(key, "1")); err != nil || len(s.observed) != 0 {
		t.Errorf("%v, observed %v", err, s.observed)
	}
	m := rest(key, "1")
	m.Channel = "_system/a"
	if err := s.Check(m); err == nil || err.Code != protocol.ChannelReserved || s.seen("channel_reserved") != 1 {
		t.Errorf("%v, observed %v; want channel_reserved", err, s.observed)
	}
	if got := s.sender.callCount(); got != 0 {
		t.Errorf("Redis was asked %d times", got)
	}
}

// TestRateAndQuotaRace: REST calls of two keys and sockets, on two nodes, race
// for the tokens of the keys and the last messages of the plan. Each bucket gives
// out what it holds, the plan what it has, and who got no token is not counted.
func TestRateAndQuotaRace(t *testing.T) {
	redistest.BothClients(t, func(t *testing.T, client func() *redis.Client) {
		const limit, burst, calls, sent = 250, 60, 150, 200
		a := limited("app", limit, 1, burst)
		began := time.Now()
		services := []*real{newReal(t, client()), newReal(t, client())}
		keys := []*apps.Key{keyOf(a, "a"), keyOf(a, "b")}
		var ok, over atomic.Int64
		passed := make([]atomic.Int64, len(keys))
		var all sync.WaitGroup
		judge := func(r Result, rated *atomic.Int64) {
			switch {
			case r.Err == nil:
				ok.Add(1)
			case r.Err.Code == protocol.OverMessageQuota:
				over.Add(1)
			case r.Err.Code == protocol.RateLimited && rated != nil:
				if r.RetryAfter <= 0 || r.RetryAfter > time.Second {
					t.Errorf("the next token comes in %v, want within 1s", r.RetryAfter)
				}
				return
			default:
				t.Errorf("%v", r.Err)
			}
			if rated != nil {
				rated.Add(1)
			}
		}
		for i := range calls {
			for k, key := range keys {
				all.Go(func() { judge(services[i%2].Publish(context.Background(), rest(key, "1")), &passed[k]) })
			}
		}
		for i := range sent {
			all.Go(func() { judge(services[i%2].Publish(context.Background(), message(a, "1")), nil) })
		}
		all.Wait()
		refilled := int64(time.Since(began)/time.Second) + 1
		for k := range keys {
			if got := passed[k].Load(); got < burst || got > burst+refilled {
				t.Errorf("%d requests of key %s got a token, want %d and at most %d more", got, keys[k].ID, burst, refilled)
			}
		}
		attempts := sent + passed[0].Load() + passed[1].Load()
		if ok.Load() != limit || over.Load() != attempts-limit {
			t.Errorf("%d accepted and %d over quota, want %d and %d", ok.Load(), over.Load(), limit, attempts-limit)
		}
		used, err := client().Get(context.Background(), quota.Messages(rediskeys.Namespace{}, a, time.Now()).Key).Int64()
		if err != nil || used != attempts {
			t.Errorf("%d messages are counted (%v), want the %d that were within their rate", used, err, attempts)
		}
	})
}
