package telemetry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
)

// Metrics are what a node counts. docs/operations.md lists them.
type Metrics struct {
	registry *prometheus.Registry

	connections prometheus.Gauge
	publishes   *prometheus.CounterVec
	published   prometheus.Counter // of publishes, those with the result ok
	wills       *prometheus.CounterVec
	closes      *prometheus.CounterVec
	refusals    *prometheus.CounterVec
	redis       *prometheus.HistogramVec

	remembered, rememberedBytes prometheus.Counter
	evictions                   *prometheus.CounterVec
	groupDrops                  *prometheus.CounterVec
	sinks                       *sinkMetrics
	delivery                    *prometheus.HistogramVec
	commandEnds                 *prometheus.CounterVec
	survey                      atomic.Pointer[Survey]
}

// NewMetrics returns metrics of their own registry, so that a process can have
// several nodes (as tests do).
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleetwire_connections", Help: "WebSocket connections open on this node.",
		}),
		publishes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleetwire_publishes_total", Help: "Messages given to this node to publish, by result: ok or an error code of the protocol.",
		}, []string{"result"}),
		wills: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleetwire_wills_total", Help: "Wills that this node took when they were due, by result: ok or an error code of the protocol.",
		}, []string{"result"}),
		remembered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fleetwire_history_messages_total", Help: "Messages of this node that channels remember.",
		}),
		rememberedBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fleetwire_history_bytes_total", Help: "Bytes of data of these messages.",
		}),
		groupDrops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleetwire_group_dropped_total", Help: "Messages of groups that this node dropped before an ingester acknowledged them, by reason: age or overflow.",
		}, []string{"reason"}),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleetwire_history_evictions_total", Help: "Messages that this node had channels forget, by reason: size, ttl, bytes or rules.",
		}, []string{"reason"}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleetwire_closes_total", Help: "Connections ended, by who ended them (server, peer, network) and close code (0 with network, other for a peer's own from 3000 on).",
		}, []string{"by", "code"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleetwire_refusals_total", Help: "Connections refused before their welcome, by close code, or 429 for the connect limit.",
		}, []string{"code"}),
		commandEnds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleetwire_commands_ended_total", Help: "Commands that ended by what this node was told or found due, by status.",
		}, []string{"status"}),
		delivery: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fleetwire_delivery_seconds",
			Help:    "Time from when a process took a message, to publish it, until this node had written it to the last connection that gets it; of one message in 64, by the process that took it (this_node or another). From another, the difference of the two clocks is in it.",
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"from"}),
		redis: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fleetwire_redis_seconds", Help: "Time that Redis took to answer, by kind (command or pipeline) and outcome (ok or error).",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2},
		}, []string{"kind", "outcome"}),
	}
	m.registry.MustRegister(m.connections, m.publishes, m.wills, m.closes, m.refusals, m.redis, m.remembered, m.rememberedBytes, m.evictions, m.groupDrops, m.delivery, m.commandEnds,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.sinks = newSinkMetrics(m.registry)
	m.registry.MustRegister(surveyCollector{m})
	m.published = m.publishes.WithLabelValues("ok")
	// Series that are there from the beginning: their rates are right from the first message on.
	for _, from := range []string{thisNode, anotherProcess} {
		m.delivery.WithLabelValues(from)
	}
	return m
}

// Handler serves the metrics in Prometheus's text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// CountDeliveries reads the messages handed to connections from total.
func (m *Metrics) CountDeliveries(total func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "fleetwire_deliveries_total", Help: "Messages handed to connections of this node.",
	}, func() float64 { return float64(total()) }))
}

// CountPresence reads the presence frames handed to connections, and the channels
// that are watched by name.
func (m *Metrics) CountPresence(frames func() uint64, views func() int) {
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "fleetwire_presence_frames_total", Help: "Presence frames handed to connections of this node.",
		}, func() float64 { return float64(frames()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fleetwire_presence_views", Help: "Channels whose members this node keeps, because a connection watches them.",
		}, func() float64 { return float64(views()) }))
}

// CountLogDropped reads how many log lines were dropped from total.
func (m *Metrics) CountLogDropped(total func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "fleetwire_log_lines_dropped_total", Help: "Log lines dropped because they were not read in time.",
	}, func() float64 { return float64(total()) }))
}

// ReportReady reads whether the node is ready (1) or not (0) from ready.
func (m *Metrics) ReportReady(ready func() bool) {
	m.report("fleetwire_ready", "1 while /readyz answers 200.", ready)
}

// ReportAppsStale reads from stale whether the apps document in force is not the
// newest (1) or is (0).
func (m *Metrics) ReportAppsStale(stale func() bool) {
	m.report("fleetwire_apps_stale", "1 while the apps document in force is not the newest, which /readyz explains.", stale)
}

// ReportMasters reads from masters, by address, which masters of a Redis Cluster work.
func (m *Metrics) ReportMasters(masters func() map[string]bool) {
	m.registry.MustRegister(mastersCollector{masters})
}

type mastersCollector struct{ masters func() map[string]bool }

var masterUp = prometheus.NewDesc("fleetwire_redis_master_up",
	"1 while the master of the Redis Cluster works for this node and its link delivers, 0 while not. There is none of a master that has no slots any more.",
	[]string{"master"}, nil)

func (mastersCollector) Describe(to chan<- *prometheus.Desc) { to <- masterUp }

func (c mastersCollector) Collect(to chan<- prometheus.Metric) {
	for addr, works := range c.masters() {
		up := 0.0
		if works {
			up = 1
		}
		to <- prometheus.MustNewConstMetric(masterUp, prometheus.GaugeValue, up, addr)
	}
}

func (m *Metrics) report(name, help string, is func() bool) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		if is() {
			return 1
		}
		return 0
	}))
}

// Processes that messages come from, as a label.
const (
	thisNode       = "this_node"
	anotherProcess = "another"
)

// Written measures how long a message has taken. own says that this process took it.
func (m *Metrics) Written(took time.Duration, own bool) {
	from := anotherProcess
	if own {
		from = thisNode
	}
	m.delivery.WithLabelValues(from).Observe(max(0, took).Seconds())
}

// Published counts a message by its result.
func (m *Metrics) Published(result string) {
	if result == "ok" {
		m.published.Inc()
		return
	}
	m.publishes.WithLabelValues(result).Inc()
}

// Connected and Ended count a connection's beginning and end.
func (m *Metrics) Connected() { m.connections.Inc() }

// Ended counts the end of a connection that was Connected. Codes that a peer made
// up count as "other", or it could make as many time series as there are codes.
func (m *Metrics) Ended(by string, code int) {
	m.connections.Dec()
	label := strconv.Itoa(code)
	if by == "peer" && code >= 3000 {
		label = "other"
	}
	m.closes.WithLabelValues(by, label).Inc()
}

// Refused counts a connection that got no welcome.
func (m *Metrics) Refused(code int) { m.refusals.WithLabelValues(strconv.Itoa(code)).Inc() }

// WillDue counts a will that was due by what became of it.
func (m *Metrics) WillDue(result string) { m.wills.WithLabelValues(result).Inc() }

// Remembered counts a message that its channel remembers.
func (m *Metrics) Remembered(bytes int) {
	m.remembered.Inc()
	m.rememberedBytes.Add(float64(bytes))
}

// Evicted counts messages that channels remember no more.
func (m *Metrics) Evicted(reason string, messages int) {
	m.evictions.WithLabelValues(reason).Add(float64(messages))
}

// CommandEnded counts a command that a call of this node has ended.
func (m *Metrics) CommandEnded(status string) { m.commandEnds.WithLabelValues(status).Inc() }

// GroupDropped counts messages of groups that no ingester had acknowledged.
func (m *Metrics) GroupDropped(reason string, messages int) {
	m.groupDrops.WithLabelValues(reason).Add(float64(messages))
}

// RedisHook measures the round trips of a go-redis client.
func (m *Metrics) RedisHook() redis.Hook { return redisHook{m.redis} }

type redisHook struct{ seconds *prometheus.HistogramVec }

func (h redisHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h redisHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		begin := time.Now()
		err := next(ctx, cmd)
		h.observe("command", begin, failed(err))
		return err
	}
}

func (h redisHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		begin := time.Now()
		err := next(ctx, cmds)
		// err is that of the first command alone.
		h.observe("pipeline", begin, failed(err) || slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return failed(cmd.Err()) }))
		return err
	}
}

func (h redisHook) observe(kind string, begin time.Time, failed bool) {
	outcome := "ok"
	if failed {
		outcome = "error"
	}
	h.seconds.WithLabelValues(kind, outcome).Observe(time.Since(begin).Seconds())
}

// failed says whether err is trouble with Redis. A value that is not there is an
// answer, a script that Redis does not know yet is sent again whole, and a caller that
// gave up, as at a node's end, says nothing of Redis.
func failed(err error) bool {
	return err != nil && !errors.Is(err, redis.Nil) && !errors.Is(err, context.Canceled) && !redis.HasErrorPrefix(err, "NOSCRIPT")
}
