package quota

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/embedded"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// patience is how long a test waits for what must come. It is only ever waited
// out by a test that fails.
const patience = 10 * time.Second

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// keys name what the tests have in Redis.
var keys rediskeys.Namespace

// clock is a miniredis whose time the test tells: what scripts read with TIME,
// and what keys live by.
type clock struct {
	*embedded.Redis
	now time.Time
}

func newClock(t *testing.T) (*clock, *redis.Client) {
	m, rdb := redistest.Embedded(t)
	c := &clock{m, time.UnixMilli(1767225600123)}
	m.SetTime(c.now)
	m.ClockTTL(true)
	return c, rdb
}

func (c *clock) pass(d time.Duration) {
	c.now = c.now.Add(d)
	c.SetTime(c.now)
}

// wire is a hook on a client's pipelines: it counts them, holds them up, and
// loses their answers.
type wire struct {
	pipelines atomic.Int64
	commands  atomic.Int64
	asking    atomic.Int64 // runs of connections.lua that ask for connections, or about tokens
	mu        sync.Mutex
	gate      chan struct{} // nil: open
	held      chan struct{} // gets a value for each pipeline that is held up
	lost      error         // takes the place of Redis's answer
}

func onWire(rdb redis.UniversalClient) *wire {
	w := &wire{held: make(chan struct{}, 1000)}
	rdb.AddHook(w)
	return w
}

// hold stops pipelines until the returned function is called, or the test ends.
func (w *wire) hold(t *testing.T) (release func()) {
	t.Helper()
	gate := make(chan struct{})
	w.mu.Lock()
	w.gate = gate
	w.mu.Unlock()
	release = sync.OnceFunc(func() {
		w.mu.Lock()
		w.gate = nil
		w.mu.Unlock()
		close(gate)
	})
	t.Cleanup(release)
	return release
}

func (w *wire) lose(err error) {
	w.mu.Lock()
	w.lost = err
	w.mu.Unlock()
}

// asked is how many ask in a run of connections.lua; 0 for any other command.
func asked(cmd redis.Cmder) int {
	args := cmd.Args() // evalsha, sha, n, n keys, 8 arguments, then 4 for each that asks
	if len(args) < 3 {
		return 0
	}
	n, _ := args[2].(int)
	if n < 6 {
		return 0
	}
	return max(0, len(args)-3-n-8) / 4
}

func (w *wire) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (w *wire) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (w *wire) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		w.pipelines.Add(1)
		w.commands.Add(int64(len(cmds)))
		for _, cmd := range cmds {
			if asked(cmd) > 0 {
				w.asking.Add(1)
			}
		}
		w.mu.Lock()
		gate, lost := w.gate, w.lost
		w.mu.Unlock()
		if gate != nil {
			w.held <- struct{}{}
			<-gate
			ctx = context.WithoutCancel(ctx) // it was the test that took the time
		}
		err := next(ctx, cmds)
		if lost != nil {
			for _, cmd := range cmds {
				cmd.SetErr(lost)
			}
			return lost
		}
		return err
	}
}
