package receiver

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// keys are the names that tests without others of their own go by.
var keys rediskeys.Namespace

// driver does by hand what link.go's goroutines do, so that a test says in
// which order: send the changes, take its confirmations one by one, lose the link.
type driver struct {
	t        *testing.T
	receiver *Receiver
	shard    *shard
	redis    *redis.Client
	pubsub   *redis.PubSub
	link     *link
}

func newDriver(t *testing.T, rdb *redis.Client) *driver {
	log := slog.New(slog.DiscardHandler)
	d := &driver{t: t, redis: rdb}
	d.receiver = New(Options{Redis: rdb, Health: redisconn.NewHealth(log), Log: log, Node: "node"})
	d.shard = d.receiver.shards[0]
	d.receiver.SetIdentity("node")
	d.up()
	t.Cleanup(d.down)
	return d
}

func (d *driver) up() {
	d.pubsub = d.redis.Subscribe(context.Background())
	d.link = &link{r: d.receiver, shard: d.shard, pubsub: d.pubsub, proven: time.Now()}
	d.shard.up(d.link)
}

// down loses the link. Redis has read everything before, so that no command
// comes to life after its link.
func (d *driver) down() {
	if d.pubsub != nil {
		if err := d.pubsub.Ping(context.Background()); err != nil {
			d.t.Error(err)
		}
		for {
			message, err := d.pubsub.ReceiveTimeout(context.Background(), 5*time.Second)
			if _, pong := message.(*redis.Pong); pong {
				break
			}
			if err != nil {
				d.t.Errorf("the link answers no ping: %v", err)
				break
			}
		}
		_ = d.pubsub.Close()
		d.pubsub = nil
		d.shard.down()
	}
}

func (d *driver) flush() {
	d.t.Helper()
	if err := d.shard.flush(context.Background(), d.link); err != nil {
		d.t.Fatalf("flush: %v", err)
	}
}

// unconfirmed is how many commands Redis has yet to confirm.
func (d *driver) unconfirmed() int {
	n := 0
	for _, i := range d.shard.wanted {
		n += int(i.asked - i.confirmed)
	}
	return n
}

// confirm takes one confirmation from Redis.
func (d *driver) confirm() {
	d.t.Helper()
	message, err := d.pubsub.ReceiveTimeout(context.Background(), 5*time.Second)
	if err != nil {
		d.t.Fatalf("no confirmation: %v", err)
	}
	m := message.(*redis.Subscription)
	if err := d.link.confirmed(verb(m.Kind), m.Channel); err != nil {
		d.t.Error(err)
	}
}

// settle goes on until Redis does and has confirmed everything.
func (d *driver) settle() {
	d.t.Helper()
	for len(d.shard.changed) > 0 || d.unconfirmed() > 0 {
		d.flush()
		for d.unconfirmed() > 0 {
			d.confirm()
		}
	}
}

func (d *driver) subscribers(name string) int {
	n, err := d.redis.HGet(context.Background(), keys.Bucket("app", name).Subscribers("node"), name).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		d.t.Fatal(err)
	}
	return n
}

func (d *driver) subscribed(name string) bool {
	channels, err := d.redis.PubSubChannels(context.Background(), "*").Result()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, c := range channels {
		if c == keys.Topic(envelope.KindMessages, "app", name) {
			return true
		}
	}
	return false
}

// answer records what done was called with.
type answer struct {
	calls int
	err   error
}

func (a *answer) done(err error) {
	a.calls++
	a.err = err
}

func (a *answer) expect(t *testing.T, when string, calls int, err error) {
	t.Helper()
	if a.calls != calls || !errors.Is(a.err, err) {
		t.Fatalf("%s: done was called %d times (%v), want %d times with %v", when, a.calls, a.err, calls, err)
	}
}

func (d *driver) set(name string, n int, done func(error)) {
	d.t.Helper()
	if err := d.receiver.set(subscriptionKey{app: "app", name: name}, n, done); err != nil {
		d.t.Fatalf("set %s to %d: %v", name, n, err)
	}
}

func TestDoneWaitsForTheConfirmation(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	var a answer
	d.set("c", 1, a.done)
	a.expect(t, "before Redis was told", 0, nil)
	d.flush()
	a.expect(t, "before Redis has confirmed", 0, nil)
	d.confirm()
	a.expect(t, "confirmed", 1, nil)
}

func TestWantedUnwantedWantedWhileConfirmationsAreUnderWay(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	var first, second, third answer
	d.set("c", 1, first.done)
	d.flush()
	d.set("c", 0, second.done)
	d.flush()
	d.set("c", 2, third.done)
	d.flush()
	d.confirm() // of the first SUBSCRIBE: an UNSUBSCRIBE is under way
	third.expect(t, "one of three confirmed", 0, nil)
	d.confirm()
	third.expect(t, "two of three confirmed", 0, nil)
	d.confirm()
	for _, a := range []answer{first, second, third} {
		a.expect(t, "all confirmed", 1, nil)
	}
	if !d.subscribed("c") || d.subscribers("c") != 2 {
		t.Errorf("subscribed: %v with %d subscribers, want 2", d.subscribed("c"), d.subscribers("c"))
	}
}

func TestForgottenOnlyWhenRedisHasConfirmedIt(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	d.set("c", 1, nil)
	d.flush()
	d.set("c", 0, nil)
	d.flush()
	d.confirm()
	if len(d.shard.wanted) != 1 {
		t.Error("forgotten while the UNSUBSCRIBE was under way: its confirmation would count for the next SUBSCRIBE")
	}
	d.confirm()
	if len(d.shard.wanted) != 0 {
		t.Errorf("%d subscriptions are kept though nothing is wanted", len(d.shard.wanted))
	}
}

// TestPatternComesBackWhileTelling: Redis confirms that a pattern is gone, and
// somebody wants it again, before all of the same round has been told.
func TestPatternComesBackWhileTelling(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	var first, again answer
	add := func(done func(error)) {
		if err := d.receiver.setPattern(envelope.KindMessages, "app", "x*", true, done); err != nil {
			t.Fatal(err)
		}
	}
	add(first.done)
	d.settle()
	first.expect(t, "settled", 1, nil)
	rdb.AddHook(onPipeline(func([]redis.Cmder) error {
		for len(d.shard.wanted) == 2 {
			d.confirm()
			if len(d.shard.wanted) == 1 { // that was the PUNSUBSCRIBE
				add(again.done)
				break
			}
		}
		return nil
	}))
	_ = d.receiver.setPattern(envelope.KindMessages, "app", "x*", false, nil)
	d.set("c", 1, nil) // its count is told last
	d.flush()
	d.settle()
	again.expect(t, "settled", 1, nil)
	if got := rdb.PubSubNumPat(context.Background()).Val(); got != 1 || len(d.shard.wanted) != 2 {
		t.Errorf("%d patterns in Redis and %d subscriptions kept, want 1 and 2", got, len(d.shard.wanted))
	}
}

// TestBusyChannelIsConfirmed: while one waits, others go on subscribing to the
// same channel without a pause, as they do when a fleet connects again.
func TestBusyChannelIsConfirmed(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	n := 1
	rdb.AddHook(onPipeline(func(cmds []redis.Cmder) error {
		n++
		d.set("c", n, nil) // while Redis is being told
		return nil
	}))
	var a answer
	d.set("c", n, a.done)
	for range 3 {
		d.flush()
		for d.unconfirmed() > 0 {
			d.confirm()
		}
	}
	a.expect(t, "told three times", 1, nil)
}

// TestLinkLostWhileTelling: the SUBSCRIBE has gone out, the count has not.
func TestLinkLostWhileTelling(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	lost := errors.New("lost")
	fail := true
	rdb.AddHook(onPipeline(func([]redis.Cmder) error {
		if fail {
			return lost
		}
		return nil
	}))
	var before, during, after answer
	d.set("c", 1, before.done)
	if err := d.shard.flush(context.Background(), d.link); !errors.Is(err, lost) {
		t.Fatalf("flush: %v, want the error of the pipeline", err)
	}
	d.set("d", 1, during.done)
	d.down()
	before.expect(t, "down", 1, ErrDown)
	during.expect(t, "down", 1, ErrDown)
	if err := d.receiver.set(subscriptionKey{app: "app", name: "c"}, 5, after.done); !errors.Is(err, ErrDown) {
		t.Errorf("set while down: %v, want ErrDown", err)
	}
	d.set("c", 2, nil)
	fail = false
	d.up()
	if d.receiver.Live() {
		t.Error("live before anything is subscribed again")
	}
	d.settle()
	if !d.receiver.Live() {
		t.Error("not live although everything is subscribed again")
	}
	if d.subscribers("c") != 2 || d.subscribers("d") != 1 || !d.subscribed("c") || !d.subscribed("d") {
		t.Errorf("c has %d subscribers, d %d, want 2 and 1, both subscribed", d.subscribers("c"), d.subscribers("d"))
	}
	before.expect(t, "up again", 1, ErrDown)
	after.expect(t, "refused", 0, nil)
}

// TestAnyOrder does hundreds of random rows of changes, tellings, confirmations
// and lost links, and looks at Redis after each.
func TestAnyOrder(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	for seed := range uint64(120) {
		m.FlushAll()
		anyOrder(t, rdb, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func anyOrder(t *testing.T, rdb *redis.Client, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	d := newDriver(t, rdb)
	defer d.down()
	names := []string{"a", "b", "c"} // and globs x, y
	want := map[string]int{}
	last := map[string]int{} // the number of the last change of each name
	var answers []*answer

	change := func() {
		var a *answer
		var done func(error)
		name, number := names[rng.IntN(len(names))], len(answers)
		if rng.IntN(2) == 0 {
			a = &answer{}
			done = func(err error) {
				a.done(err)
				if err == nil && last[name] == number && d.subscribed(name) != (want[name] > 0) {
					t.Errorf("%s is confirmed, but subscribed: %v, wanted: %d", name, d.subscribed(name), want[name])
				}
				if err == nil && last[name] == number && d.subscribers(name) != want[name] {
					t.Errorf("%s is confirmed, but counted %d, wanted: %d", name, d.subscribers(name), want[name])
				}
			}
		}
		n := rng.IntN(3)
		if err := d.receiver.set(subscriptionKey{app: "app", name: name}, n, done); err != nil {
			if d.pubsub != nil || done == nil {
				t.Errorf("set %s to %d: %v", name, n, err)
			}
			return
		}
		want[name], last[name] = n, number
		answers = append(answers, a)
	}
	changePattern := func() {
		glob := []string{"x*", "y*"}[rng.IntN(2)]
		if want[glob] > 0 && rng.IntN(2) == 0 {
			want[glob]--
			_ = d.receiver.setPattern(envelope.KindMessages, "app", glob, false, nil)
			return
		}
		a := &answer{}
		if err := d.receiver.setPattern(envelope.KindMessages, "app", glob, true, a.done); err != nil {
			if d.pubsub != nil {
				t.Errorf("add %s: %v", glob, err)
			}
			return
		}
		want[glob]++
		answers = append(answers, a)
	}
	redisIsQuiet := func() bool {
		ctx := context.Background()
		return len(rdb.PubSubChannels(ctx, "*").Val()) == 0 && rdb.PubSubNumPat(ctx).Val() == 0
	}
	redistest.Eventually(t, 5*time.Second, "the link of the last row is gone", redisIsQuiet)
	for range 60 {
		switch rng.IntN(12) {
		case 0, 1, 2, 3:
			change()
		case 4, 5:
			changePattern()
		case 6, 7, 8:
			if d.pubsub != nil {
				d.flush()
			}
		case 9, 10:
			if d.pubsub != nil && d.unconfirmed() > 0 {
				d.confirm()
			}
		default:
			if d.pubsub != nil {
				d.down()
				redistest.Eventually(t, 5*time.Second, "Redis has seen the link go", redisIsQuiet)
			} else {
				d.up()
			}
		}
	}
	if d.pubsub == nil {
		d.up()
	}
	d.settle()

	for i, a := range answers {
		if a != nil && a.calls != 1 {
			t.Errorf("change %d: done was called %d times, want once", i, a.calls)
		}
	}
	if !d.receiver.Live() || d.shard.unconfirmed != 0 {
		t.Errorf("not live: %d subscriptions seem to be missing", d.shard.unconfirmed)
	}
	keys, globs := 0, int64(0)
	for name, n := range want {
		if n > 0 {
			keys++
			if strings.HasSuffix(name, "*") {
				globs++
			}
		}
	}
	if got := rdb.PubSubNumPat(context.Background()).Val(); got != globs {
		t.Errorf("%d patterns in Redis, want %d", got, globs)
	}
	for name, n := range want {
		switch {
		case strings.HasSuffix(name, "*"):
		case d.subscribed(name) != (n > 0):
			t.Errorf("%s: subscribed %v with %d subscribers", name, d.subscribed(name), n)
		case d.subscribers(name) != n:
			t.Errorf("%s: Redis counts %d subscribers, want %d", name, d.subscribers(name), n)
		}
	}
	if len(d.shard.wanted) != keys || len(d.shard.changed) != 0 {
		t.Errorf("%d subscriptions and %d changes are kept, want %d and 0", len(d.shard.wanted), len(d.shard.changed), keys)
	}
	expectLeases(t, rdb)
}

// expectLeases: nothing that a node writes outlives it for ever.
func expectLeases(t *testing.T, rdb *redis.Client) {
	t.Helper()
	for _, key := range rdb.Keys(context.Background(), "*").Val() {
		ttl := rdb.TTL(context.Background(), key).Val()
		if bound := countsLease; strings.Contains(key, ":subscribers:") && (ttl <= 0 || ttl > bound) {
			t.Errorf("%s expires in %v, want at most %v", key, ttl, bound)
		}
		if ttl <= 0 && key != keys.LeaseBuckets("node") { // which is removed with the lease
			t.Errorf("%s never expires", key)
		}
	}
}

func TestManySubscriptionsAtOnce(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	const many = 2*topicsPerCommand + 1
	for i := range many {
		d.set(strconv.Itoa(i), 1, nil)
	}
	d.settle()
	if got := len(rdb.PubSubChannels(context.Background(), "*").Val()); got != many {
		t.Errorf("%d channels subscribed, want %d", got, many)
	}
	d.down()
	d.up()
	d.settle()
	for i := range many {
		d.set(strconv.Itoa(i), 0, nil)
	}
	d.settle()
	if len(d.shard.wanted) != 0 {
		t.Errorf("%d subscriptions are kept, want none", len(d.shard.wanted))
	}
}

// onPipeline is a hook that is asked before each pipeline; an error of its own
// takes the place of Redis's answer.
type onPipeline func([]redis.Cmder) error

func (onPipeline) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (onPipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (f onPipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := f(cmds); err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}
