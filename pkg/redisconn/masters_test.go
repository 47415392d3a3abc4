package redisconn_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/logtest"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// While a master does not answer, what needs it fails at once, was not sent, and says so;
// the others serve. A master that refuses is asked on.
func TestHealthOfMasters(t *testing.T) {
	cluster := redistest.StartClusterOf(t, 2, 0)
	log := new(logtest.Buffer)
	h := redisconn.NewHealth(slog.New(slog.NewTextHandler(log, nil)))
	rdb := cluster.Client()
	h.Of(rdb)
	if !h.Up() || !h.AllUp() || !h.UpAt("a") || h.Trouble() != "" {
		t.Error("a Health that knows nothing yet is down")
	}
	var keys [2]string
	masters := map[string]*redisconn.Health{}
	for i, s := range cluster.Nodes {
		masters[s.Addr()] = h.Master(s.Addr())
		for n := byte('a'); keys[i] == ""; n++ {
			if cluster.Master(string(n)) == s {
				keys[i] = string(n)
			}
		}
	}
	h.SetMasters(masters, func(slot int) *redisconn.Health {
		for i, key := range keys {
			if (slot < rediskeys.Slots/2) == (rediskeys.Slot(key) < rediskeys.Slots/2) {
				return masters[cluster.Nodes[i].Addr()]
			}
		}
		return nil
	})

	for _, key := range keys { // the client knows the masters
		redistest.Eventually(t, patience, "both answer", func() bool { return rdb.Set(t.Context(), key, 0, 0).Err() == nil })
	}
	h.ObserveAt(keys[0], redis.ErrClosed) // as good as any error that is no answer
	if !h.Up() || h.AllUp() || h.UpAt(keys[0]) || !h.UpAt(keys[1]) {
		t.Error("one master does not work, and the other does")
	}
	if why := h.Trouble(); !strings.Contains(why, "redis does not answer: master "+cluster.Nodes[0].Addr()+": ") || strings.Contains(why, cluster.Nodes[1].Addr()) {
		t.Errorf("trouble: %q", why)
	}
	var tries atomic.Int64
	rdb.AddHook(counting{&tries})
	p := rdb.Pipeline()
	lost, set := p.Set(t.Context(), keys[0], 1, 0), p.Set(t.Context(), keys[1], 1, 0)
	if _, err := p.Exec(t.Context()); !redisconn.NotSent(err) || !redisconn.NotSent(lost.Err()) || set.Err() != nil {
		t.Errorf("a pipeline to both: %v; %v and %v", err, lost.Err(), set.Err())
	}
	if err := rdb.Get(t.Context(), keys[0]).Err(); !redisconn.NotSent(err) || !redisconn.Unreachable(err) {
		t.Errorf("a command: %v", err)
	}
	if n := tries.Load(); n != 2 { // of which none waits: see TestMasterIsWaitedForOnce
		t.Errorf("the two were tried %d times in all, want once each", n)
	}
	h.ObserveAt(keys[1], rdb.Get(t.Context(), keys[0]).Err()) // which says nothing of any master
	if !h.UpAt(keys[1]) {
		t.Error("a master is down by what was not sent to another")
	}
	if n := strings.Count(log.String(), "redis is away"); n != 1 {
		t.Errorf("%d lines: %s", n, log.String())
	}

	h.ObserveAt(keys[1], cluster.Nodes[1].Client().Do(t.Context(), "no-such-command").Err())
	if !h.UpAt(keys[1]) {
		t.Error("a refusal of one command has the master down")
	}
}

// counting counts how often pipelines and commands are tried.
type counting struct{ tries *atomic.Int64 }

func (counting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.tries.Add(1)
		return next(ctx, cmd)
	}
}

func (c counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.tries.Add(1)
		return next(ctx, cmds)
	}
}

// A master is sent nothing more once a call has waited for as long as a probe may: nobody waits
// for it twice. A call that had less patience proves nothing.
func TestMasterIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const addr = "127.0.0.1:1" // which is never dialled
		h := redisconn.NewHealth(slog.New(slog.DiscardHandler))
		cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}})
		defer cluster.Close()
		h.Of(cluster)
		master := h.Master(addr)
		h.SetMasters(map[string]*redisconn.Health{addr: master}, func(int) *redisconn.Health { return master })

		sent, patience := 0, time.Duration(0)
		hang := func() error {
			sent++
			time.Sleep(patience)
			return &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
		}
		gate := redisconn.GateOf(h, addr)
		pipeline := gate.ProcessPipelineHook(func(context.Context, []redis.Cmder) error { return hang() })
		command := gate.ProcessHook(func(context.Context, redis.Cmder) error { return hang() })
		for name, call := range map[string]func() error{
			"pipeline": func() error { return pipeline(t.Context(), []redis.Cmder{redis.NewCmd(t.Context(), "get", "a")}) },
			"command":  func() error { return command(t.Context(), redis.NewCmd(t.Context(), "get", "a")) },
		} {
			master.Answered()
			sent, patience = 0, redisconn.ProbeTimeout-time.Millisecond
			if err := call(); redisconn.NotSent(err) {
				t.Errorf("%s: %v", name, err)
			}
			patience = redisconn.ProbeTimeout
			if err := call(); redisconn.NotSent(err) || sent != 2 {
				t.Errorf("%s: the second of two was sent nothing, as the first had little patience: %v", name, err)
			}
			begin := time.Now()
			if err := call(); !redisconn.NotSent(err) || sent != 2 || time.Since(begin) != 0 {
				t.Errorf("%s: %v after %v, and %d were sent, want that the third was not", name, err, time.Since(begin), sent)
			}
		}
		if h.Up() {
			t.Error("the master is up")
		}
	})
}
