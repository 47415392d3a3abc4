package redisconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// pushBoth appends to two lists of one slot, of which it is told one.
var pushBoth = redisconn.NewScript(`
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('RPUSH', KEYS[1] .. ':2', ARGV[1])
return #KEYS`)

// whoRuns returns the id of the node that runs it.
var whoRuns = redisconn.NewScript(`return redis.call('CLUSTER', 'MYID')`)

// listed is what was appended to a list.
func listed(t *testing.T, rdb redis.UniversalClient, key string) string {
	t.Helper()
	all, err := rdb.LRange(t.Context(), key, 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "")
}

// spread are keys of all masters: one of each in turn.
func spread(c *redistest.Cluster, n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		key := fmt.Sprintf("{%d}list", i)
		if c.Master(key) == c.Nodes[len(keys)%3] {
			keys = append(keys, key)
		}
	}
	return keys
}

// Exec on a cluster that stays as it is: order, missing scripts, errors, keys.
func TestExecOnACluster(t *testing.T) {
	c := redistest.SharedCluster(t)
	rdb := c.Client()
	keys := spread(c, 6)
	var calls []*redisconn.Call
	for _, data := range []string{"a", "b", "c"} {
		for _, key := range keys {
			calls = append(calls, call(push, key, data))
		}
	}
	for round := range 3 {
		if round == 2 { // one of the masters has forgotten the script
			if err := c.Nodes[1].Client().ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := redisconn.Exec(t.Context(), rdb, calls); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range keys {
		if got := listed(t, rdb, key); got != "abcabcabc" {
			t.Errorf("%s has %s, want abc three times", key, got)
		}
	}

	// One that fails says nothing of the others.
	rdb.Set(t.Context(), keys[0]+"text", "x", 0)
	some := []*redisconn.Call{call(push, keys[0]+"text", "d"), call(push, keys[0], "d"), call(push, keys[1], "d")}
	if err := redisconn.Exec(t.Context(), rdb, some); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") || !redisconn.Undone(err) {
		t.Errorf("%v, want that of the first", err)
	}
	for i, call := range some {
		if err := call.Reply.Err(); (err != nil) != (i == 0) {
			t.Errorf("call %d: %v", i, err)
		}
	}

	// A script is told of the keys that its caller named, and no other.
	counting := &redisconn.Call{Script: pushBoth, Keys: []string{keys[0]}, Args: []any{"e"}}
	if err := redisconn.Exec(t.Context(), rdb, []*redisconn.Call{counting}); err != nil || counting.Reply.Val() != int64(1) {
		t.Errorf("%v keys and %v, want one", counting.Reply.Val(), err)
	}

	// One without keys goes where one of its arguments lies.
	for i, key := range keys[:3] {
		where := &redisconn.Call{Script: whoRuns, Args: []any{"", key}, Place: 1}
		if err := redisconn.Exec(t.Context(), rdb, []*redisconn.Call{where}); err != nil {
			t.Fatal(err)
		}
		if id := c.Nodes[i].Client().ClusterMyID(t.Context()).Val(); where.Reply.Val() != id {
			t.Errorf("ran at %v; want %s", where.Reply.Val(), id)
		}
	}
}

// A client that has an old map of the slots runs each call once, in order.
func TestSlotsHaveMoved(t *testing.T) {
	t.Parallel()
	c := redistest.StartClusterOf(t, 3, 0)
	rdb := c.Client()
	keys := spread(c, 3)
	exec := func(data string) {
		t.Helper()
		var calls []*redisconn.Call
		for _, d := range data {
			for _, key := range keys {
				calls = append(calls, call(push, key, string(d)))
			}
		}
		if err := redisconn.Exec(t.Context(), rdb, calls); err != nil {
			t.Fatal(err)
		}
	}
	exec("ab")
	c.Migrate(keys[0], c.Nodes[1])
	exec("cd")
	c.Migrate(keys[0], c.Nodes[2])
	if err := rdb.RPush(t.Context(), keys[0], "x").Err(); err != nil {
		t.Error(err)
	}
	added := c.Add() // which the client has never heard of
	c.Migrate(keys[1], added)
	exec("ef")
	for i, want := range []string{"abcdxef", "abcdef", "abcdef"} {
		if got := listed(t, rdb, keys[i]); got != want {
			t.Errorf("%s has %s, want %s", keys[i], got, want)
		}
	}
}

// While a slot moves, commands of one key go on, and a script waits until it runs whole.
func TestSlotIsMoving(t *testing.T) {
	t.Parallel()
	c := redistest.StartClusterOf(t, 2, 0)
	rdb := c.Client()
	const key, gone = "{1}list", "{1}gone"
	ctx := t.Context()
	for _, k := range []string{key, gone} {
		if err := rdb.RPush(ctx, k, "a").Err(); err != nil {
			t.Fatal(err)
		}
	}
	from := c.Master(key)
	to := c.Nodes[0]
	if from == to {
		to = c.Nodes[1]
	}
	source, target := from.Client(), to.Client()
	id := func(rdb *redis.Client) string { return rdb.Do(ctx, "CLUSTER", "MYID").Val().(string) }
	slot := rediskeys.Slot(key)
	do := func(rdb *redis.Client, args ...any) {
		t.Helper()
		if err := rdb.Do(ctx, args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	do(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", id(source))
	do(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", id(target))
	_, port, _ := net.SplitHostPort(to.Addr())
	do(source, "MIGRATE", "127.0.0.1", port, gone, 0, 5000)

	// One is there, one is at the other, and one is nowhere.
	p := rdb.Pipeline()
	for _, k := range []string{gone, key, "{1}new"} {
		p.RPush(ctx, k, "b")
	}
	if _, err := p.Exec(ctx); err != nil {
		t.Error(err)
	}
	if got, err := rdb.LRange(ctx, gone, 0, -1).Result(); err != nil || strings.Join(got, "") != "ab" {
		t.Errorf("%v %v, want ab", got, err)
	}

	// A script does not run by halves, neither here nor there.
	refused := &refusals{}
	rdb.AddHook(refused)
	for _, k := range []string{key, gone, "{1}none"} {
		impatient, cancel := context.WithCancel(ctx)
		refused.after(3, cancel)
		err := redisconn.Exec(impatient, rdb, []*redisconn.Call{{Script: pushBoth, Keys: []string{k}, Args: []any{"c"}}})
		if err == nil || !redisconn.Undone(err) {
			t.Errorf("%s: %v, want that nothing was done", k, err)
		}
		if impatient.Err() == nil {
			t.Errorf("%s: Exec gave up by itself", k)
		}
		cancel()
	}
	waiting := make(chan error, 1)
	errorsBefore := source.Info(ctx, "errorstats").Val()
	go func() {
		waiting <- redisconn.Exec(ctx, rdb, []*redisconn.Call{{Script: pushBoth, Keys: []string{key}, Args: []any{"c"}}})
	}()
	redistest.Eventually(t, patience, "the script is refused while the slot moves", func() bool {
		return source.Info(ctx, "errorstats").Val() != errorsBefore
	})
	for _, k := range source.ClusterGetKeysInSlot(ctx, slot, 100).Val() {
		do(source, "MIGRATE", "127.0.0.1", port, k, 0, 5000)
	}
	do(target, "CLUSTER", "SETSLOT", slot, "NODE", id(target))
	do(source, "CLUSTER", "SETSLOT", slot, "NODE", id(target))
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	if got := listed(t, rdb, key) + " " + listed(t, rdb, key+":2"); got != "abc c" {
		t.Errorf("ran %s, want once: abc c", got)
	}
}

// refusals is a hook on pipelines that calls something when they were refused so often. Nothing
// is under way then.
type refusals struct {
	mu   sync.Mutex
	left int
	call func()
}

func (r *refusals) after(n int, call func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left, r.call = n, call
}

func (r *refusals) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (r *refusals) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (r *refusals) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil {
			if r.left--; r.left == 0 {
				r.call()
			}
		}
		return err
	}
}

// A command is not sent again where it might run out of time: it would be unknown what it did.
func TestNoTryRunsOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		within := func(d, pause time.Duration) (again bool, took time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			begin := time.Now()
			return redisconn.Sleep(ctx, pause), time.Since(begin)
		}
		const pause, most = 5 * time.Millisecond, redisconn.MostPause
		if again, took := within(pause+most, pause); !again || took != pause {
			t.Errorf("with time for one try: %v after %v", again, took)
		}
		if again, took := within(pause+most-1, pause); again || took != 0 {
			t.Errorf("without: %v after %v", again, took)
		}
	})
}

// cutting is a connection that ends in place of the answer to what has the mark.
type cutting struct {
	net.Conn
	cut   *atomic.Int64
	asked bool
}

func (c *cutting) Write(b []byte) (int, error) {
	c.asked = c.asked || bytes.Contains(b, []byte("MARK"))
	return c.Conn.Write(b)
}

func (c *cutting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.asked {
		c.cut.Add(1)
		_ = c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}

// A call whose answer was lost is not sent again, and those of other masters are done.
func TestAnswerOfAClusterIsLost(t *testing.T) {
	c := redistest.SharedCluster(t)
	keys := spread(c, 3)
	var cut atomic.Int64
	options := c.Client().Options()
	rdb := redisconn.NewCluster(&redis.ClusterOptions{
		Addrs: options.Addrs, Protocol: 2, DisableIdentity: true,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &cutting{Conn: conn, cut: &cut}, err
		},
	})
	defer rdb.Close()
	exec := func(data string) []*redisconn.Call {
		calls := []*redisconn.Call{call(push, keys[0], data), call(push, keys[1], "x"), call(push, keys[2], "x")}
		_ = redisconn.Exec(t.Context(), rdb, calls)
		return calls
	}
	exec("a")
	for i, call := range exec("MARK") {
		if err := call.Reply.Err(); (err != nil) != (i == 0) || redisconn.Undone(err) {
			t.Errorf("call %d: %v, want that the first alone is lost, and may have been done", i, err)
		}
	}
	if got := listed(t, c.Client(), keys[0]); got != "aMARK" || cut.Load() != 1 {
		t.Errorf("ran %s, and %d answers were lost; want each once", got, cut.Load())
	}
	if err := rdb.RPush(t.Context(), keys[0], "MARK").Err(); err == nil {
		t.Error("a single command whose answer was lost was sent again")
	}
	if got := listed(t, c.Client(), keys[0]); got != "aMARKMARK" {
		t.Errorf("ran %s, want each once", got)
	}
}

// When a master is killed, what is its part fails, and works again once its replica has
// taken its place. The other masters' part goes on.
func TestMasterIsKilled(t *testing.T) {
	t.Parallel()
	c := redistest.StartClusterOf(t, 3, 1)
	rdb := c.Client()
	keys := spread(c, 3)
	exec := func(data string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return redisconn.Exec(ctx, rdb, []*redisconn.Call{call(push, keys[0], data)})
	}
	if err := exec("a"); err != nil {
		t.Fatal(err)
	}
	if err := c.Nodes[0].Client().Wait(t.Context(), 1, 5*time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	// The replica takes its place only when the test says so.
	replica := c.Replica(c.Nodes[0]).Client()
	mayNot := func(value string) {
		t.Helper()
		if err := replica.ConfigSet(t.Context(), "cluster-replica-no-failover", value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	mayNot("yes")
	c.Nodes[0].Stop()
	if err := exec("b"); err == nil {
		t.Error("a master that is gone has taken something")
	}
	if err := redisconn.Exec(t.Context(), rdb, []*redisconn.Call{call(push, keys[1], "a")}); err != nil && !strings.HasPrefix(err.Error(), "CLUSTERDOWN") {
		t.Errorf("another master: %v", err)
	}
	mayNot("no")
	redistest.Eventually(t, patience, "the replica takes its place", func() bool { return exec("c") == nil })
	if got := listed(t, rdb, keys[0]); got != "ac" {
		t.Errorf("ran %s, want ac", got)
	}
}

// Callers that wait for one node share a round trip, and have each their own errors.
func TestSharedTripsOfACluster(t *testing.T) {
	c := redistest.SharedCluster(t)
	rdb := c.Client()
	rdb.Set(t.Context(), "{1}text", "x", 0)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for range 20 {
				wrong, right := call(push, "{1}text", "x"), call(push, fmt.Sprintf("{%d}%d", i%2, i), "x")
				err := redisconn.Exec(context.Background(), rdb, []*redisconn.Call{wrong, right})
				if wrong.Reply.Err() == nil || right.Reply.Err() != nil || !errors.Is(err, wrong.Reply.Err()) {
					t.Errorf("%v and %v, want that the first alone fails", wrong.Reply.Err(), right.Reply.Err())
					return
				}
			}
		})
	}
	all.Wait()
	for i := range 64 {
		if n := rdb.LLen(t.Context(), fmt.Sprintf("{%d}%d", i%2, i)).Val(); n != 20 {
			t.Errorf("caller %d ran %d times, want 20", i, n)
		}
	}
}
