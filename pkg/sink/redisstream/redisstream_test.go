package redisstream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/sink"
	"fleetwire/pkg/sink/redisstream"
	"fleetwire/pkg/sink/sinktest"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

func open(t *testing.T, opt redisstream.Options) *redisstream.Target {
	t.Helper()
	if opt.Stream == "" {
		opt.Stream = "events"
	}
	target, err := redisstream.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

func TestDeliverAppends(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	batch := sinktest.Messages(3)
	batch[1].FromMetadata, batch[1].Attempt = json.RawMessage(`{"name":"Yard"}`), 4
	if err := sinktest.Deliver(t, open(t, redisstream.Options{URL: server.URL()}), batch); err != nil {
		t.Fatal(err)
	}
	if err := sinktest.Deliver(t, open(t, redisstream.Options{URL: server.URL(), Stream: "ce", CloudEvents: true}), batch[1:2]); err != nil {
		t.Fatal(err)
	}
	entries, err := rdb.XRange(t.Context(), "events", "-", "+").Result()
	if err != nil || len(entries) != 3 {
		t.Fatalf("%v, %v", entries, err)
	}
	for i, e := range entries {
		want := map[string]any{"id": fmt.Sprint("m", i), "channel": "devices/1/events", "from": "device-1", "data": fmt.Sprint(i), "publishedAt": "1767222000123", "attempt": "1"}
		if i == 1 {
			want["fromMetadata"], want["attempt"] = `{"name":"Yard"}`, "4"
		}
		if fmt.Sprint(e.Values) != fmt.Sprint(want) {
			t.Errorf("got  %v\nwant %v", e.Values, want)
		}
	}
	events, err := rdb.XRange(t.Context(), "ce", "-", "+").Result()
	if want := string(sink.Payload(&batch[1], true)); err != nil || len(events) != 1 || len(events[0].Values) != 1 || events[0].Values["event"] != want {
		t.Errorf("got %v, %v; want %s", events, err, want)
	}
}

func TestMaxLen(t *testing.T) {
	server := redistest.Start(t)
	target := open(t, redisstream.Options{URL: server.URL(), MaxLen: 100})
	for range 10 {
		if err := sinktest.Deliver(t, target, sinktest.Messages(100)); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.Client().XLen(t.Context(), "events").Val(); n < 100 || n > 300 {
		t.Errorf("%d entries; want about 100", n)
	}
}

func TestOrderOfConcurrentBatches(t *testing.T) {
	server := redistest.Start(t)
	target := open(t, redisstream.Options{URL: server.URL()})
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for range 5 {
				batch := sinktest.Messages(50)
				for i := range batch {
					batch[i].Channel = fmt.Sprint("devices/", worker)
				}
				if err := target.Deliver(t.Context(), batch)[49]; err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	next := map[string]int{}
	for _, e := range server.Client().XRange(t.Context(), "events", "-", "+").Val() {
		channel := e.Values["channel"].(string)
		if want := fmt.Sprint(next[channel] % 50); e.Values["data"] != want {
			t.Fatalf("%s: %v, want %s", channel, e.Values["data"], want)
		}
		next[channel]++
	}
	if len(next) != 4 || next["devices/0"] != 250 {
		t.Errorf("got %v", next)
	}
}

func TestWhatIsWrongWithTheRedis(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	target := open(t, redisstream.Options{URL: server.URL()})
	set := func(args ...any) {
		t.Helper()
		if err := rdb.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("SET", "events", "x")
	sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(2)), `the key "events" of the Redis is not a stream`)
	set("DEL", "events")
	set("CONFIG", "SET", "maxmemory", "1")
	sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(2)), "OOM command not allowed")
	if n := rdb.XLen(t.Context(), "events").Val(); n != 0 {
		t.Errorf("%d of a batch that was not taken are there", n)
	}
	set("CONFIG", "SET", "maxmemory", "0")
	set("ACL", "SETUSER", "weak", "on", ">5ec4e7", "~*", "+ping", "+hello")
	weak := strings.Replace(server.URL(), "://", "://weak:5ec4e7@", 1)
	sinktest.Unavailable(t, sinktest.Deliver(t, open(t, redisstream.Options{URL: weak}), sinktest.Messages(1)), "NOPERM")
	wrong := strings.Replace(server.URL(), "://", "://weak:5ec4e7-not@", 1)
	sinktest.Unavailable(t, sinktest.Deliver(t, open(t, redisstream.Options{URL: wrong}), sinktest.Messages(1)), "WRONGPASS")
	if err := sinktest.Deliver(t, target, sinktest.Messages(1)); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// The rights that docs/recipes.md gives a sink are enough.
func TestLeastPrivilege(t *testing.T) {
	server := redistest.Start(t)
	if err := server.Client().Do(t.Context(), "ACL", "SETUSER", "fleetwire", "on", ">p", "~events", "+ping", "+evalsha", "+eval", "+xadd").Err(); err != nil {
		t.Fatal(err)
	}
	if err := sinktest.Deliver(t, open(t, redisstream.Options{URL: strings.Replace(server.URL(), "://", "://fleetwire:p@", 1)}), sinktest.Messages(3)); err != nil {
		t.Error(err)
	}
}

func TestRedisAwayAndBack(t *testing.T) {
	server := redistest.Start(t)
	target := open(t, redisstream.Options{URL: server.URL()})
	server.Stop()
	sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(1)), "connection refused")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	sinktest.Unavailable(t, target.Deliver(ctx, sinktest.Messages(1))[0], "")
	server.Restart()
	if err := sinktest.Deliver(t, target, sinktest.Messages(1)); err != nil {
		t.Error(err)
	}
}

func TestCluster(t *testing.T) {
	cluster := redistest.SharedCluster(t)
	target := open(t, redisstream.Options{URL: cluster.URL()})
	if err := sinktest.Deliver(t, target, sinktest.Messages(3)); err != nil {
		t.Fatal(err)
	}
	entries, err := cluster.Client().XRange(t.Context(), "events", "-", "+").Result()
	if err != nil || len(entries) != 3 || entries[2].Values["data"] != "2" {
		t.Errorf("%v, %v", entries, err)
	}
}

// A cluster's node that does not answer at the start is taken for one server.
func TestClusterThatComesLate(t *testing.T) {
	node := redistest.StartCluster(t)
	proxy := redistest.NewProxy(t, "127.0.0.1:1")
	target := open(t, redisstream.Options{URL: proxy.URL()})
	proxy.Lead(node.Addr())
	sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(1)), "Redis is a cluster")
	if err := sinktest.Deliver(t, target, sinktest.Messages(1)); err != nil {
		t.Error(err)
	}
}

func TestSentinel(t *testing.T) {
	sentinel := redistest.StartSentinel(t, 1)
	target := open(t, redisstream.Options{URL: sentinel.URL()})
	if err := sinktest.Deliver(t, target, sinktest.Messages(2)); err != nil {
		t.Fatal(err)
	}
	sentinel.Failover()
	redistest.Eventually(t, 10*time.Second, "a delivery to the new primary", func() bool { return sinktest.Deliver(t, target, sinktest.Messages(1)) == nil })
}

func TestNewErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		opt  redisstream.Options
		want string
	}{
		"no stream":     {redisstream.Options{URL: "redis://127.0.0.1:6379"}, "stream: it is empty"},
		"no URL":        {redisstream.Options{Stream: "s"}, "url: the Redis URL must begin with redis://"},
		"bad URL":       {redisstream.Options{URL: "redis://:5ec4e7@:x:y", Stream: "s"}, "url: the Redis URL cannot be read"},
		"not verifying": {redisstream.Options{URL: "rediss://:5ec4e7@127.0.0.1:6379?skip_verify=true", Stream: "s"}, "url: it says skip_verify=true"},
	} {
		if _, err := redisstream.New(tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "5ec4e7") {
			t.Errorf("%s: error %v, want one with %q and no password", name, err, tt.want)
		}
	}
}
