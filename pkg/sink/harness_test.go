package sink

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/group"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
)

// patience is only ever waited out by a test that fails.
const patience = 30 * time.Second

// quick is a pace for tests.
var quick = pace{
	look: 20 * time.Millisecond, deliver: 5 * time.Second, claim: 2 * time.Second, refresh: time.Hour, doubt: time.Nanosecond,
	nack: 10 * time.Millisecond, away: 20 * time.Millisecond, unable: 50 * time.Millisecond,
}

// endpoint is what all targets of a test deliver to.
type endpoint struct {
	mu      sync.Mutex
	answer  func(ctx context.Context, batch []Message) []error // nil: it takes everything
	taken   []Message
	calls   int      // of Deliver
	under   int      // Delivers under way
	made    []string // the secrets of the targets that were made
	closed  int
	secrets map[apps.Secret]string // values; "": it cannot be read
	notMade error
	faults  []string // what targets must not be called with
}

// Resolve is Maker's.
func (e *endpoint) Resolve(_ context.Context, s *apps.Sink) (*apps.Sink, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	resolved, webhook := *s, *s.Webhook
	webhook.Secrets = slices.Clone(webhook.Secrets)
	for i, secret := range webhook.Secrets {
		if value, ok := e.secrets[secret]; ok && value == "" {
			return nil, fmt.Errorf("secrets[%d]: %v is not set", i, secret)
		} else if ok {
			webhook.Secrets[i] = apps.Secret(value)
		}
	}
	resolved.Webhook = &webhook
	return &resolved, nil
}

// New is Maker's.
func (e *endpoint) New(_ context.Context, s *apps.Sink) (Target, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.notMade != nil {
		return nil, e.notMade
	}
	e.made = append(e.made, s.Webhook.URL+" "+string(s.Webhook.Secrets[0]))
	return &target{of: e, secret: string(s.Webhook.Secrets[0])}, nil
}

type target struct {
	of     *endpoint
	secret string
	under  int
	closed bool
}

type secretKey struct{}

func (t *target) Deliver(ctx context.Context, batch []Message) []error {
	e := t.of
	e.mu.Lock()
	if t.closed {
		e.faults = append(e.faults, "Deliver after Close")
	}
	e.calls++
	e.under++
	t.under++
	answer := e.answer
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.under--
		t.under--
	}()
	results := All(len(batch), nil)
	if answer != nil {
		results = answer(context.WithValue(ctx, secretKey{}, t.secret), batch)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, r := range results {
		if r == nil && i < len(batch) {
			e.taken = append(e.taken, batch[i])
		}
	}
	return results
}

func (t *target) Close() error {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if t.under > 0 || t.closed {
		t.of.faults = append(t.of.faults, "Close too early, or twice")
	}
	t.closed = true
	t.of.closed++
	return nil
}

// set has the endpoint answer otherwise from now on.
func (e *endpoint) set(answer func(ctx context.Context, batch []Message) []error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

// always answers the same for every message.
func always(result error) func(context.Context, []Message) []error {
	return func(_ context.Context, batch []Message) []error { return All(len(batch), result) }
}

func locked[T any](e *endpoint, f func() T) T {
	e.mu.Lock()
	defer e.mu.Unlock()
	return f()
}

func (e *endpoint) count() int    { return locked(e, func() int { return len(e.taken) }) }
func (e *endpoint) called() int   { return locked(e, func() int { return e.calls }) }
func (e *endpoint) underway() int { return locked(e, func() int { return e.under }) }

func (e *endpoint) all() []Message {
	return locked(e, func() []Message { return slices.Clone(e.taken) })
}

// observed counts what nodes observe of sinks.
type observed struct {
	delivered, refused, givenBack, failed, took, looks, begun, gone atomic.Int64
	trouble                                                         chan struct{} // has one when a sink was not OK
}

func (o *observed) Delivered(n int)    { o.delivered.Add(int64(n)) }
func (o *observed) Refused(n int)      { o.refused.Add(int64(n)) }
func (o *observed) GivenBack(n int)    { o.givenBack.Add(int64(n)) }
func (o *observed) Failed()            { o.failed.Add(1) }
func (o *observed) Took(time.Duration) { o.took.Add(1) }
func (o *observed) Is(c Condition) {
	o.looks.Add(1)
	if c != OK {
		select {
		case o.trouble <- struct{}{}:
		default:
		}
	}
}

func (o *observed) Holds(int64) {}
func (o *observed) Gone()       { o.gone.Add(1) }

// awaitLooks waits until workers have looked at the sink so often once more.
func (w *world) awaitLooks(n int64) {
	w.t.Helper()
	before := w.seen.looks.Load()
	redistest.Eventually(w.t, patience, fmt.Sprint(n, " looks"), func() bool { return w.seen.looks.Load() >= before+n })
}

// world is a Redis with a publisher and some nodes.
type world struct {
	*endpoint
	seen  observed
	t     *testing.T
	rdb   redis.UniversalClient
	apps  *apps.Store
	door  *publish.Service
	store *group.Store
	nodes int
}

// crm is a sink of a group.
const crm = `"type":"webhook","url":"https://crm.example.com/in","secrets":["env:CRM"]`

// groupWith is the group crm with a sink.
func groupWith(sink string) string {
	return `{"name":"crm","patterns":["c/**"],"maxDeliver":4,"sink":{` + sink + `}}`
}

func directory(t testing.TB, app, groups string) *apps.Directory {
	t.Helper()
	dir, err := apps.Parse([]byte(`{"apps":[{"id":"app",` + app + `"groups":[` + groups + `],"plan":{"maxConcurrentConnections":1,"maxMessagesPerPeriod":1000000},` +
		`"keys":[{"id":"sk_a","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish","subscribe"]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func newWorld(t *testing.T, rdb redis.UniversalClient, groups string) *world {
	w := &world{
		t: t, rdb: rdb, endpoint: &endpoint{secrets: map[apps.Secret]string{"env:CRM": "one"}}, apps: apps.NewStore(directory(t, "", groups)),
		door:  publish.New(publish.Options{Redis: rdb, Keys: keys, Log: slog.New(slog.DiscardHandler), Now: time.Now}),
		store: group.NewStore(group.Options{Redis: rdb, Keys: keys}),
	}
	w.seen.trouble = make(chan struct{}, 1)
	t.Cleanup(func() {
		if len(w.faults) > 0 {
			t.Errorf("targets were told %q", w.faults)
		}
	})
	return w
}

// use puts another document in force.
func (w *world) use(groups string) { w.apps.Replace(directory(w.t, "", groups)) }

func (w *world) app() *apps.App     { return w.apps.Current().Apps()[0] }
func (w *world) group() *apps.Group { return w.app().Group("crm") }

// publish publishes numbers from first to last, one after the other in turn to some channels.
func (w *world) publish(channels, first, last int) {
	w.t.Helper()
	for n := first; n <= last; n++ {
		r := w.door.Publish(context.Background(), publish.Message{
			Grant: auth.KeyGrant(w.app().Keys[0], "device", nil), Channel: fmt.Sprint("c/", n%channels), From: "device",
			FromMetadata: []byte(`{"v":1}`), Data: []byte(fmt.Sprint(n)),
		})
		if r.Err != nil {
			w.t.Fatalf("publish %d: %v", n, r.Err)
		}
	}
}

// node is one on which a Runner runs.
type node struct {
	*Runner
	stop func()
}

// start starts a node.
func (w *world) start(p pace) *node { return w.startOn(w.rdb, p) }

func (w *world) startOn(rdb redis.UniversalClient, p pace) *node {
	return w.startWith(rdb, w.endpoint, p)
}

func (w *world) startWith(rdb redis.UniversalClient, m Maker, p pace) *node {
	w.nodes++
	r := NewRunner(Options{
		Redis: rdb, Keys: keys, Apps: w.apps, Node: fmt.Sprint("node", w.nodes), Maker: m,
		Log: slog.New(slog.DiscardHandler), pace: p,
		Observe: func(string, string) Observer { w.seen.begun.Add(1); return &w.seen },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	var once sync.Once
	n := &node{r, func() {
		once.Do(func() {
			cancel()
			running.Wait()
			r.Close(context.Background())
		})
	}}
	w.t.Cleanup(n.stop)
	return n
}

func (w *world) state() State {
	w.t.Helper()
	s, err := NewStates(w.rdb, keys).Read(context.Background(), w.app(), w.group())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) await(c Condition) {
	w.t.Helper()
	redistest.Eventually(w.t, patience, "the sink is "+string(c), func() bool { return w.state().Condition == c })
}

func (w *world) awaitTaken(n int) {
	w.t.Helper()
	redistest.Eventually(w.t, patience, fmt.Sprint(n, " messages are taken"), func() bool { return w.count() >= n })
}

// waiting is what waits for the group.
func (w *world) waiting() string {
	w.t.Helper()
	s, err := w.store.State(context.Background(), w.app(), w.group())
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintf("lag %d pending %d dead %d", s.Lag, s.Pending, s.Dead)
}

func (w *world) awaitWaiting(want string) {
	w.t.Helper()
	last := ""
	defer func() {
		if last != want {
			w.t.Logf("the group has %s", last)
		}
	}()
	redistest.Eventually(w.t, patience, "the group has "+want, func() bool { last = w.waiting(); return last == want })
}

// wantOnce wants each message to have been taken once, and those of a channel in order.
func (w *world) wantOnce(n int) {
	w.t.Helper()
	last, ids := map[string]int{}, map[string]bool{}
	for _, m := range w.all() {
		var number int
		_, _ = fmt.Sscan(string(m.Data), &number)
		if number <= last[m.Channel] {
			w.t.Errorf("%s: %d comes behind %d", m.Channel, number, last[m.Channel])
		}
		last[m.Channel] = number
		if ids[m.ID] {
			w.t.Errorf("the id %s is that of two messages", m.ID)
		}
		ids[m.ID] = true
		if m.App != "app" || m.Group != "crm" || m.From != "device" || string(m.FromMetadata) != `{"v":1}` || m.Attempt != 1 || m.PublishedAt == 0 {
			w.t.Errorf("got %+v", m)
		}
	}
	if got := w.count(); got != n {
		w.t.Errorf("%d messages were taken, want %d", got, n)
	}
}

// numbers are what was taken, sorted, without repetitions.
func (w *world) numbers() string {
	set := map[int]bool{}
	for _, m := range w.all() {
		var n int
		_, _ = fmt.Sscan(string(m.Data), &n)
		set[n] = true
	}
	return strings.Trim(fmt.Sprint(slices.SortedFunc(maps.Keys(set), cmp.Compare)), "[]")
}
