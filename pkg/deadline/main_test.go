package deadline

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

var keys rediskeys.Namespace

// patience is only ever waited out by a test that fails.
const patience = 10 * time.Second

// An owner as the package doc has it: its record is the hash fired, with how often an
// id was seen to.
var (
	setScript   = redisconn.NewScript(Lua + `due_set(KEYS[1], ARGV[1], due_time() + tonumber(ARGV[2])) return 1`)
	clearScript = redisconn.NewScript(Lua + `due_clear(KEYS[1], ARGV[1]) return 1`)
	fireScript  = redisconn.NewScript(Lua + `
		local now = due_time()
		for _, id in ipairs(ARGV) do
		  if due_passed(KEYS[1], id, now) then
		    due_clear(KEYS[1], id)
		    redis.call('HINCRBY', KEYS[2], id, 1)
		  end
		end
		return 1`)
)

type owner struct {
	t    *testing.T
	rdb  redis.UniversalClient
	kind Kind

	mu     sync.Mutex
	handed map[string]int
	leaves func(id string) error // why the owner does not see to it; nil: it does
}

func newOwner(t *testing.T, rdb redis.UniversalClient, kind Kind) *owner {
	return &owner{t: t, rdb: rdb, kind: kind, handed: map[string]int{}, leaves: func(string) error { return nil }}
}

// set sets a deadline of the record with this name, in the name's bucket.
func (o *owner) set(name string, after time.Duration) {
	o.t.Helper()
	bucket := keys.Bucket("app", name)
	calls := []*redisconn.Call{Touch(keys, Set{o.kind, bucket, after}), o.write(name, after)}
	if err := redisconn.Exec(o.t.Context(), o.rdb, calls); err != nil {
		o.t.Error(err)
	}
}

func (o *owner) write(name string, after time.Duration) *redisconn.Call {
	return &redisconn.Call{Script: setScript, Keys: []string{o.due(name)}, Args: []any{name, after.Milliseconds()}}
}

func (o *owner) due(name string) string { return keys.Bucket("app", name).Due(string(o.kind)) }

func (o *owner) clear(name string) {
	o.t.Helper()
	call := &redisconn.Call{Script: clearScript, Keys: []string{o.due(name)}, Args: []any{name}}
	if err := redisconn.Exec(o.t.Context(), o.rdb, []*redisconn.Call{call}); err != nil {
		o.t.Error(err)
	}
}

// handle is a Handler.
func (o *owner) handle(ctx context.Context, due []Due) (failed error) {
	var calls []*redisconn.Call
	for _, d := range due {
		call := &redisconn.Call{Script: fireScript, Keys: []string{d.Bucket.Due(string(o.kind)), string(d.Bucket) + "fired"}}
		for _, id := range d.IDs {
			o.mu.Lock()
			o.handed[id]++
			err := o.leaves(id)
			o.mu.Unlock()
			if err != nil {
				failed = err
				continue
			}
			call.Args = append(call.Args, id)
		}
		calls = append(calls, call)
	}
	if err := redisconn.Exec(ctx, o.rdb, calls); err != nil {
		return err
	}
	return failed
}

// fired is how often the record was seen to.
func (o *owner) fired(name string) int {
	n, _ := o.rdb.HGet(o.t.Context(), string(keys.Bucket("app", name))+"fired", name).Int()
	return n
}

func (o *owner) times(name string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.handed[name]
}

// expect waits until all have been seen to, and looks that each was once.
func (o *owner) expect(names ...string) {
	o.t.Helper()
	for _, name := range names {
		redistest.Eventually(o.t, patience, name+" is seen to", func() bool { return o.fired(name) > 0 })
	}
	for _, name := range names {
		if n := o.fired(name); n != 1 {
			o.t.Errorf("%s was seen to %d times", name, n)
		}
	}
}

// quick is a pace for tests.
var quick = pace{
	step: 5 * time.Millisecond, most: time.Second, lease: 50 * time.Millisecond, retry: 20 * time.Millisecond,
	flight: 5 * time.Second, again: 10 * time.Millisecond, build: time.Second,
}

// worker makes a node's worker.
func (o *owner) worker(log *slog.Logger) *Worker {
	w := New(Options{
		Redis: o.rdb, Keys: keys, Handlers: map[Kind]Handler{o.kind: o.handle},
		Apps: func() []string { return []string{"other", "app"} }, Log: log,
	})
	w.pace = quick
	return w
}

// run runs a node's worker until stop, or the end of the test.
func (o *owner) run() (stop func()) {
	w := o.worker(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	o.t.Cleanup(stop)
	return stop
}

// names are n names, which lie in many buckets.
func names(what string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(what, i)
	}
	return all
}

// logged is a log as lines.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

func (l *logged) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
