package node

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/pkg/auth"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
)

// metric is the value of one line of /metrics, and whether there is one.
func (r *running) metric(line string) (float64, bool) {
	r.t.Helper()
	status, _, body := r.request("GET", "http://"+r.OpsAddr()+"/metrics", nil)
	if status != 200 {
		r.t.Fatalf("/metrics: %d", status)
	}
	for l := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(l, line+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			check(r.t, err)
			return n, true
		}
	}
	return 0, false
}

func (r *running) wantMetric(line string, want float64) {
	r.t.Helper()
	if got, _ := r.metric(line); got != want {
		r.t.Errorf("%s is %v, want %v", line, got, want)
	}
}

func TestMetrics(t *testing.T) {
	r := start(t)
	for _, name := range []string{"fleetwire_connections", "fleetwire_deliveries_total", "fleetwire_ready", "go_goroutines", "process_open_fds"} {
		if _, ok := r.metric(name); !ok && name != "process_open_fds" {
			t.Errorf("there is no %s", name)
		}
	}
	r.wantMetric("fleetwire_ready", 1)

	a, b := r.connect(keyID, "a"), r.connect(keyID, "b")
	r.wantMetric("fleetwire_connections", 2)
	for _, p := range []*peer{a, b} {
		p.send(`{"type":"subscribe","channel":"devices/x","requestId":"s"}`)
		p.wantText(`{"type":"ack"`)
	}
	a.send(`{"type":"publish","channel":"devices/x","data":1,"requestId":"p"}`, `{"type":"publish","channel":"public/x","data":1,"requestId":"p"}`)
	b.wantText(`{"type":"message"`)
	for range 2 {
		a.read()
	}
	// The sender's own copy is none, so one delivery.
	r.wantMetric("fleetwire_deliveries_total", 1)
	r.wantMetric(`fleetwire_publishes_total{result="ok"}`, 1)
	r.wantMetric(`fleetwire_publishes_total{result="channel_not_authorized"}`, 1)
	for _, kind := range []string{"command", "pipeline"} {
		if n, _ := r.metric(`fleetwire_redis_seconds_count{kind="` + kind + `",outcome="ok"}`); n < 1 {
			t.Errorf("no Redis %s was measured", kind)
		}
	}

	refused, err := r.dial("?token=nonsense", nil)
	check(t, err)
	refused.wantClose(4001, "")
	r.wantMetric(`fleetwire_refusals_total{code="4001"}`, 1)
	r.wantMetric("fleetwire_connections", 2)
	for n := range 61 {
		status, _, _ := r.request("GET", "http://"+r.Addr()+"/v1?token=nonsense", upgrade())
		if status != 101 && n < 59 {
			t.Fatalf("connect %d: %d", n, status)
		}
	}
	if n, _ := r.metric(`fleetwire_refusals_total{code="429"}`); n < 1 {
		t.Error("no refusal with 429 was counted")
	}

	_, err = a.conn.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))))
	check(t, err)
	a.wantClose(1000, "")
	check(t, b.conn.Close())
	// HOSTILE: a peer that makes up a code each time it leaves.
	for code := range ws.StatusCode(5) {
		p := r.connect(keyID, "d")
		_, err = p.conn.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(3000+499*code, "")))))
		check(t, err)
		p.wantClose(int(3000+499*code), "")
	}
	violator := r.connect(keyID, "c")
	_, err = violator.conn.Write([]byte{0xFF, 0x80, 0, 0, 0, 0})
	check(t, err)
	violator.wantClose(1002, "")
	eventually(t, "without connections", func() bool { n, _ := r.metric("fleetwire_connections"); return n == 0 })
	r.wantMetric(`fleetwire_closes_total{by="peer",code="1000"}`, 1)
	r.wantMetric(`fleetwire_closes_total{by="peer",code="other"}`, 5)
	r.wantMetric(`fleetwire_closes_total{by="network",code="0"}`, 1)
	r.wantMetric(`fleetwire_closes_total{by="server",code="1002"}`, 1)

	back := redistest.Close(t, r.redis)
	eventually(t, "not ready", func() bool { return !r.Ready() })
	r.wantMetric("fleetwire_ready", 0)
	// In time the probes fail, too.
	eventually(t, "measuring failures", func() bool {
		n, _ := r.metric(`fleetwire_redis_seconds_count{kind="command",outcome="error"}`)
		return n > 0
	})
	back()
}

func TestOperationsAddress(t *testing.T) {
	r := start(t)
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if status, _, body := r.request("GET", "http://"+r.OpsAddr()+path, nil); status != 200 || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
		if status, _, _ := r.request("POST", "http://"+r.OpsAddr()+path, nil); status != 405 {
			t.Errorf("POST %s: %d, want 405", path, status)
		}
	}
	if status, _, _ := r.request("GET", "http://"+r.OpsAddr()+"/v1", nil); status != 404 {
		t.Errorf("/v1: %d, want 404", status)
	}
	none := start(t, func(o *Options) { o.Ops = "" })
	if none.OpsAddr() != "" {
		t.Errorf("there is an operations address, %s", none.OpsAddr())
	}
	none.connect(keyID, "a").alive()
}

// A start on a healthy Redis, which knows none of the scripts yet and holds nothing, is no error of
// Redis's.
func TestAHealthyStartCountsNoRedisErrors(t *testing.T) {
	redis := redistest.Start(t)
	r := start(t, func(o *Options) { o.Redis = redis.Client() })
	p := r.connect(keyID, "a")
	p.send(`{"type":"subscribe","requestId":"s","channel":"devices/a"}`, `{"type":"publish","requestId":"p","channel":"devices/a","data":1}`)
	p.wantText(`{"type":"ack"`)
	p.wantText(`{"type":"ack"`)
	for _, kind := range []string{"command", "pipeline"} {
		if n, _ := r.metric(`fleetwire_redis_seconds_count{kind="` + kind + `",outcome="error"}`); n != 0 {
			t.Errorf("%v errors of kind %s", n, kind)
		}
	}
}

// Messages are counted by app, and one in 64 tells how long it took to be written.
func TestMetricsOfMessages(t *testing.T) {
	r := start(t)
	from, to := r.connect(keyID, "a"), r.connect(keyID, "b")
	to.send(`{"type":"subscribe","channel":"devices/x","requestId":"s"}`)
	to.wantText(`{"type":"ack"`)
	for n := range 2 * envelope.TimedEvery {
		from.send(`{"type":"publish","channel":"devices/x","data":` + strconv.Itoa(n) + `}`)
		to.wantText(`{"type":"message"`)
	}
	from.send(`{"type":"publish","channel":"public/x","data":1,"requestId":"p"}`)
	from.wantText(`{"type":"error"`)
	const n = 2 * envelope.TimedEvery
	// The node measures a message when it has written it.
	eventually(t, "measured", func() bool {
		got, _ := r.metric(`fleetwire_delivery_seconds_count{from="this_node"}`)
		return got == 2
	})
	r.wantMetric(`fleetwire_delivery_seconds_count{from="another"}`, 0)
	r.wantMetric(`fleetwire_app_publishes_total{app="app_demo",result="ok"}`, n)
	r.wantMetric(`fleetwire_app_publishes_total{app="app_demo",result="refused"}`, 1)
	r.wantMetric(`fleetwire_app_deliveries_total{app="app_demo"}`, n)
	if took, _ := r.metric(`fleetwire_delivery_seconds_sum{from="this_node"}`); took <= 0 || took > patience.Seconds() {
		t.Errorf("two messages took %v s", took)
	}
}

// What another process publishes is measured apart: its clock may be another one.
func TestDeliveryTimeOfAnotherProcess(t *testing.T) {
	r := start(t)
	to := r.connect(keyID, "b")
	to.send(`{"type":"subscribe","channel":"devices/x","requestId":"s"}`)
	to.wantText(`{"type":"ack"`)
	key, _ := r.opt.Apps.Current().Key(keyID)
	other := publish.New(publish.Options{Redis: r.opt.Redis, Keys: r.opt.Keys, Log: r.opt.Log, Now: time.Now})
	for range envelope.TimedEvery {
		if result := other.Publish(t.Context(), publish.Message{Grant: auth.KeyGrant(key, "server", nil), Channel: "devices/x", From: "server", Data: []byte("1")}); result.Err != nil {
			t.Fatal(result.Err)
		}
		to.wantText(`{"type":"message"`)
	}
	eventually(t, "measured", func() bool {
		got, _ := r.metric(`fleetwire_delivery_seconds_count{from="another"}`)
		return got == 1
	})
	r.wantMetric(`fleetwire_delivery_seconds_count{from="this_node"}`, 0)
}
