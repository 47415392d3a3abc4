package send

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// behindProxy is a Sender whose way to a real Redis can be cut and held.
type behindProxy struct {
	*Sender
	t      *testing.T
	server *redistest.Server
	proxy  *redistest.Proxy
	direct *redis.Client
	heard  *redis.PubSub
	rule   *apps.HistoryRule // by which the channels of batch remember; nil: they do not
}

func newBehindProxy(t *testing.T) *behindProxy {
	t.Helper()
	b := &behindProxy{t: t, server: redistest.Start(t)}
	b.proxy = redistest.NewProxy(t, b.server.Addr())
	b.direct = b.server.Client()
	b.Sender = newTestSender(redistest.Client(t, b.proxy.URL()))
	b.askTime = 10 * time.Second // Redis answers, however busy the machine is
	b.listen()
	b.publish("app", `"first"`) // so that both know each other
	if got := b.delivered(); got != "app first" {
		t.Fatalf("delivered %q", got)
	}
	return b
}

func newTestSender(rdb redis.UniversalClient) *Sender {
	log := slog.New(slog.DiscardHandler)
	return New(rdb, rediskeys.Namespace{}, redisconn.NewHealth(log))
}

func (b *behindProxy) listen() {
	b.t.Helper()
	b.heard = b.direct.PSubscribe(context.Background(), "*")
	b.t.Cleanup(func() { _ = b.heard.Close() })
	if _, err := b.heard.Receive(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

// batch has a message of a REST key and one of a socket, so that it takes a token
// and counts two.
func (b *behindProxy) batch(app string, data ...string) Batch {
	batch := Batch{Counter: quota.Counter{Key: "fw:{" + app + "}:messages:test", Limit: 1000, ExpiresAt: time.Now().Add(time.Hour)}}
	batch.App = &apps.App{ID: app, HistoryBytes: apps.DefaultHistoryBytes}
	for _, d := range data {
		m := &envelope.Message{App: app, Channel: "c", From: "p", Data: []byte(d)}
		if b.rule != nil {
			batch.Messages = append(batch.Messages, b.PrepareRemembered(m, b.rule))
		} else {
			batch.Messages = append(batch.Messages, b.Prepare(m))
		}
	}
	batch.Rates = []Rate{{Bucket: quota.Bucket{Key: "fw:{" + app + "}:rest:key", PerSec: 1, Burst: 1000}, Messages: []int{0}}}
	// A bucket that was written later than now gets no tokens, however long the test takes.
	b.direct.HSet(context.Background(), batch.Rates[0].Bucket.Key, "at", time.Now().Add(time.Hour).UnixMilli())
	return batch
}

func (b *behindProxy) publish(app string, data ...string) {
	b.t.Helper()
	batch := b.batch(app, data...)
	if err := b.within(5*time.Second, batch); err != nil {
		b.t.Fatal(err)
	}
	b.all(batch, true, false)
}

func (b *behindProxy) within(d time.Duration, batches ...Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return b.Send(ctx, batches)
}

func (b *behindProxy) all(batch Batch, accepted, unknown bool) {
	b.t.Helper()
	for i, o := range batch.Messages {
		if o.Accepted != accepted || o.Unknown != unknown || o.OverCap || o.OverRate {
			b.t.Errorf("message %d: accepted %v, unknown %v, over its cap %v, over its rate %v; want %v, %v", i, o.Accepted, o.Unknown, o.OverCap, o.OverRate, accepted, unknown)
		}
	}
}

// delivered is all that has been published since it was called last.
func (b *behindProxy) delivered() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.direct.Publish(ctx, "end", "").Err(); err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for {
		m, err := b.heard.ReceiveMessage(ctx)
		if err != nil {
			b.t.Fatal(err)
		}
		if m.Channel == "end" {
			return strings.Join(all, ",")
		}
		_, app, _, _ := rediskeys.Namespace{}.ParseTopic(m.Channel)
		_, data, _ := strings.Cut(m.Payload, `"data":"`)
		data = strings.TrimSuffix(data, `"}`)
		if r, err := envelope.ParseRemembered([]byte(m.Payload)); err == nil {
			data = strings.Trim(string(r.Data), `"`)
		}
		all = append(all, app+" "+data)
	}
}

// used is how many messages and how many tokens the app has used.
func (b *behindProxy) used(app string) string {
	b.t.Helper()
	ctx := context.Background()
	batch := b.batch(app)
	messages, _ := b.direct.Get(ctx, batch.Counter.Key).Int()
	tokens := 0.0
	if text, err := b.direct.HGet(ctx, batch.Rates[0].Bucket.Key, "tokens").Result(); err == nil {
		left, _ := strconv.ParseFloat(text, 64)
		tokens = 1000 - left
	}
	return fmt.Sprintf("%d messages, %.0f tokens", messages, tokens)
}

// once returns a hook for the first piece in which mark stands.
func once(mark string, hook redistest.Hook) redistest.Hook {
	var mu sync.Mutex
	done := false
	return func(b []byte) ([]byte, bool) {
		mu.Lock()
		first := !done && bytes.Contains(b, []byte(mark))
		done = done || first
		mu.Unlock()
		if first {
			return hook(b)
		}
		return b, false
	}
}

func cut([]byte) ([]byte, bool)    { return nil, true }
func half(b []byte) ([]byte, bool) { return b[:len(b)/2], true }

// answerTo returns hooks that give the answer to the first request with the mark
// to hook.
func answerTo(mark string, hook redistest.Hook) (up, down redistest.Hook) {
	var mu sync.Mutex
	asked := false
	up = once(mark, func(b []byte) ([]byte, bool) {
		mu.Lock()
		defer mu.Unlock()
		asked = true
		return b, false
	})
	down = func(b []byte) ([]byte, bool) {
		mu.Lock()
		now := asked
		asked = false
		mu.Unlock()
		if now {
			return hook(b)
		}
		return b, false
	}
	return up, down
}

// TestConnectionBreaks: whatever breaks, and when, a message is delivered once, is
// counted once, takes one token, and its sender hears of it.
func TestConnectionBreaks(t *testing.T) {
	b := newBehindProxy(t)
	for i, test := range b.breaks() {
		t.Run(test.name, func(t *testing.T) {
			b.t = t
			b.breaksOnce(fmt.Sprint("app", i), test.pass)
		})
	}
}

// TestManyConnectionsAreBroken: Redis has cut all connections, and the client finds out one by
// one. Nothing is refused.
func TestManyConnectionsAreBroken(t *testing.T) {
	b := newBehindProxy(t)
	b.Sender = newTestSender(redistest.Client(t, b.proxy.URL())) // has yet to ask for Redis's clock
	var broken atomic.Int64
	b.proxy.Pass(func(p []byte) ([]byte, bool) {
		return p, bytes.Contains(p, []byte("info")) && broken.Add(1) <= 5
	}, nil)
	b.publish("app", `"second"`)
	if got := b.delivered(); got != "app second" {
		t.Errorf("delivered %q", got)
	}
}

// TestConnectionBreaksRemembered: so it is with messages that channels remember, and each
// has the position that its sender hears.
func TestConnectionBreaksRemembered(t *testing.T) {
	b := newBehindProxy(t)
	b.rule = &apps.HistoryRule{Size: 100, TTL: time.Hour}
	for i, test := range b.breaks() {
		t.Run(test.name, func(t *testing.T) {
			b.t = t
			app := fmt.Sprint("app", i)
			b.breaksOnce(app, test.pass)
			kept := b.direct.LRange(context.Background(), b.keys.Bucket(app, "c").History("c"), 0, -1).Val()
			if len(kept) != 4 {
				t.Errorf("%d messages are remembered, want 4", len(kept))
			}
			for i, k := range kept {
				if r, err := envelope.ParseRemembered([]byte(k)); err != nil || r.Position.Offset != uint64(i+1) {
					t.Errorf("message %d is remembered at %v %v", i, r.Position, err)
				}
			}
		})
	}
}

type breaking struct {
	name string
	pass func() (up, down redistest.Hook)
}

// breaks are the ways in which a connection breaks.
func (b *behindProxy) breaks() []breaking {
	return []breaking{
		{"after the answer", func() (up, down redistest.Hook) { return answerTo("MARK", cut) }},
		{"before the request", func() (up, down redistest.Hook) { return once("MARK", cut), nil }},
		{"in the middle of the request", func() (up, down redistest.Hook) { return once("MARK", half), nil }},
		{"in the middle of the answers", func() (up, down redistest.Hook) { return answerTo("MARK", half) }},
		{"each time that the messages are sent", func() (up, down redistest.Hook) {
			var asked atomic.Bool
			return func(p []byte) ([]byte, bool) {
					if bytes.Contains(p, []byte("MARK")) {
						asked.Store(true)
					}
					return p, false
				}, func(p []byte) ([]byte, bool) {
					if asked.Swap(false) {
						return nil, true
					}
					return p, false
				}
		}},
		{"and Redis has forgotten the script", func() (up, down redistest.Hook) {
			return answerTo("MARK", func([]byte) ([]byte, bool) {
				b.direct.ScriptFlush(context.Background())
				return nil, true
			})
		}},
	}
}

func (b *behindProxy) breaksOnce(app string, pass func() (up, down redistest.Hook)) {
	t := b.t
	b.publish(app, `"0"`)
	b.proxy.Pass(pass())
	one, other := b.batch(app, `"MARK-1"`, `"2"`), b.batch(app+"-other", `"3"`)
	if err := b.within(5*time.Second, one, other); err != nil {
		t.Error(err)
	}
	b.proxy.Pass(nil, nil)
	b.all(one, true, false)
	b.all(other, true, false)
	b.publish(app, `"4"`)
	if got := b.delivered(); got != strings.ReplaceAll("? 0,? MARK-1,? 2,?-other 3,? 4", "?", app) {
		t.Errorf("delivered %s", got)
	}
	if got := b.used(app); got != "4 messages, 3 tokens" {
		t.Errorf("used %s", got)
	}
	if got := b.used(app + "-other"); got != "1 messages, 1 tokens" {
		t.Errorf("the other app used %s", got)
	}
	for i, o := range append(append([]*Outgoing{}, one.Messages...), other.Messages...) {
		if want := []uint64{2, 3, 1}[i]; b.rule != nil && (o.Position.Offset != want || o.Position.Epoch == "") {
			t.Errorf("message %d is told to be at %v, want %d", i, o.Position, want)
		}
	}
}

// lateTime is what a batch has that is to be late. It must be sent before that is over.
const lateTime = time.Second

// TestLateRequest: a request that is held up is refused, and is not run when it
// comes through after all.
func TestLateRequest(t *testing.T) {
	b := newBehindProxy(t)
	for _, test := range []struct {
		name    string
		holds   string // which requests are held
		unknown bool
	}{
		{"and Redis can be asked", "MARK", false},
		{"and so is the question", "EVAL", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.t = t
			b.publish("app", `"before"`)
			used, _ := b.direct.Get(context.Background(), b.batch("app").Counter.Key).Int()
			release := make(chan struct{})
			through := make(chan struct{}, 10)
			b.proxy.Pass(func(p []byte) ([]byte, bool) {
				if bytes.Contains(bytes.ToUpper(p), []byte(test.holds)) {
					<-release
					through <- struct{}{}
				}
				return p, false
			}, nil)
			late := b.batch("app", `"MARK"`)
			if test.unknown {
				b.askTime = askTimeout // there is no answer
			}
			if err := b.within(lateTime, late); err == nil {
				t.Error("no error")
			}
			b.all(late, false, test.unknown)
			close(release)
			<-through
			b.proxy.Pass(nil, nil)
			b.publish("app", `"after"`)
			if got := b.delivered(); got != "app before,app after" {
				t.Errorf("delivered %s", got)
			}
			if got := b.used("app"); !strings.HasPrefix(got, fmt.Sprint(used+1, " messages")) {
				t.Errorf("used %s after %d", got, used)
			}
		})
	}
}

// TestRedisHangsAndGoesOn: what was refused meanwhile is not delivered afterwards.
func TestRedisHangsAndGoesOn(t *testing.T) {
	b := newBehindProxy(t)
	late := b.batch("app", `"late"`)
	b.askTime = askTimeout
	b.server.Freeze()
	err := b.within(lateTime, late)
	b.server.Thaw()
	if err == nil {
		t.Error("no error")
	}
	b.all(late, false, true)
	b.publish("app", `"after"`)
	if got := b.delivered(); got != "app after" {
		t.Errorf("delivered %s", got)
	}
	if got := b.used("app"); !strings.HasPrefix(got, "2 messages") {
		t.Errorf("used %s", got)
	}
}

// TestRedisLosesItsData while the answer is lost: whether the messages were
// published cannot be told, so they are not published again.
func TestRedisLosesItsData(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(b *behindProxy)
	}{
		{"another Redis takes its place", func(b *behindProxy) { b.server.Restart() }},
		{"it is emptied", func(b *behindProxy) { b.direct.FlushAll(context.Background()) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBehindProxy(t)
			b.proxy.Pass(answerTo("MARK", func([]byte) ([]byte, bool) {
				if got := b.delivered(); got != "app MARK" {
					t.Errorf("delivered %s", got)
				}
				test.lose(b)
				return nil, true
			}))
			lost := b.batch("app", `"MARK"`)
			if err := b.within(10*time.Second, lost); !errors.Is(err, errLost) {
				t.Errorf("%v, want %v", err, errLost)
			}
			b.all(lost, false, true)
			b.listen()
			b.publish("app", `"after"`)
			if got := b.delivered(); got != "app after" {
				t.Errorf("delivered %s", got)
			}
		})
	}
}

// TestRedisIsGone: what it may have taken is unknown, what was not sent is not.
func TestRedisIsGone(t *testing.T) {
	b := newBehindProxy(t)
	b.proxy.Pass(answerTo("MARK", func([]byte) ([]byte, bool) {
		b.server.Stop()
		return nil, true
	}))
	lost := b.batch("app", `"MARK"`)
	if err := b.within(5*time.Second, lost); err == nil {
		t.Error("no error")
	}
	b.all(lost, false, true)
	gone := newTestSender(b.server.Client())
	next := b.batch("app", `"next"`)
	if err := gone.Send(context.Background(), []Batch{next}); err == nil {
		t.Error("no error")
	}
	b.all(next, false, false)
}

// TestOvertaken: a batch that comes after a later one does nothing, though its
// deadline has not passed (Redis's clock was set back).
func TestOvertaken(t *testing.T) {
	b := newBehindProxy(t)
	s := &sending{Batch: b.batch("app", `"overtaken"`), app: "app", clock: &b.clock}
	b.begin(s)
	b.publish("app", `"later"`)
	if err := b.try(context.Background(), []*sending{s}, time.Now().Add(time.Minute), false); err != nil {
		t.Fatal(err)
	}
	if !s.settled || s.unknown || s.Messages[0].Accepted {
		t.Errorf("settled %v, unknown %v, accepted %v", s.settled, s.unknown, s.Messages[0].Accepted)
	}
	if got := b.delivered(); got != "app later" {
		t.Errorf("delivered %s", got)
	}
}

// TestClockIsCorrected: a process that was stopped together with its clock (a
// function between two calls) sends deadlines that have passed, and what Redis
// answers puts it right within the same call.
func TestClockIsCorrected(t *testing.T) {
	b := newBehindProxy(t)
	b.clock.least -= time.Hour.Microseconds()
	b.publish("app", `"thawed"`)
	if got := b.delivered(); got != "app thawed" {
		t.Errorf("delivered %s", got)
	}
	if got := b.used("app"); got != "2 messages, 2 tokens" {
		t.Errorf("used %s", got)
	}
}

// TestNoRightToPublish: a Redis user without the right to the pub/sub channels
// publishes nothing, is told why, and counts nothing.
func TestNoRightToPublish(t *testing.T) {
	b := newBehindProxy(t)
	if err := b.direct.Do(context.Background(), "ACL", "SETUSER", "mute", "on", "nopass", "~*", "+@all", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	mute := newTestSender(redistest.Client(t, "redis://mute:x@"+b.server.Addr()))
	batch := b.batch("app", `"1"`, `"2"`)
	if err := mute.Send(context.Background(), []Batch{batch}); !errors.Is(err, errForbidden) {
		t.Errorf("%v, want %v", err, errForbidden)
	}
	b.all(batch, false, false)
	if got := b.used("app"); got != "1 messages, 2 tokens" {
		t.Errorf("used %s", got)
	}
}

func TestClock(t *testing.T) {
	here := time.Unix(1_000_000, 0)
	const there = int64(5_000_000_000_000) // what Redis's clock shows at here
	at := func(ms int) time.Time { return here.Add(time.Duration(ms) * time.Millisecond) }
	us := func(ms int) int64 { return there + int64(ms)*1000 }
	var c clock
	want := func(why string, ms int, wantMS float64) {
		t.Helper()
		if got := float64(c.deadline(at(ms))-there) / 1000; got < wantMS-0.001 || got > wantMS+0.001 {
			t.Errorf("%s: %v ms, want %v", why, got, wantMS)
		}
	}
	c.learn(at(0), at(100), us(50))
	want("after a slow answer", 100, 50) // not 100: it may have been read at 0
	want("a second on", 1100, 1049)
	c.learn(at(1100), at(1102), us(1101))
	want("after a quick one", 1102, 1101)
	c.learn(at(1200), at(1300), us(1201))
	want("a slow one tells nothing new", 1300, 1101+198-0.198)
	c.learn(at(1300), at(1301), us(61300))
	want("it was set ahead", 1301, 61300)
	c.learn(at(1400), at(1401), us(1400))
	want("it was set back", 1401, 1400)
	want("a deadline in the past", 401, 1400-1000-1)
}
