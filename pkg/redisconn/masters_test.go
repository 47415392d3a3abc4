package redisconn_test

import (
	"log/slog"
	"strings"
	"testing"
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

	h.ObserveAt(keys[0], redis.ErrClosed) // as good as any error that is no answer
	if !h.Up() || h.AllUp() || h.UpAt(keys[0]) || !h.UpAt(keys[1]) {
		t.Error("one master does not work, and the other does")
	}
	if why := h.Trouble(); !strings.Contains(why, "redis does not answer: master "+cluster.Nodes[0].Addr()+": ") || strings.Contains(why, cluster.Nodes[1].Addr()) {
		t.Errorf("trouble: %q", why)
	}
	begin := time.Now()
	p := rdb.Pipeline()
	lost, set := p.Set(t.Context(), keys[0], 1, 0), p.Set(t.Context(), keys[1], 1, 0)
	if _, err := p.Exec(t.Context()); !redisconn.NotSent(err) || !redisconn.NotSent(lost.Err()) || set.Err() != nil {
		t.Errorf("a pipeline to both: %v; %v and %v", err, lost.Err(), set.Err())
	}
	if err := rdb.Get(t.Context(), keys[0]).Err(); !redisconn.NotSent(err) || !redisconn.Unreachable(err) {
		t.Errorf("a command: %v", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("that took %v", took)
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
