package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxSinks is how many sinks of a node have time series of their own. All others are counted
// together.
const maxSinks = 100

// otherSinks is the app and the group of those.
const otherSinks = "other"

// sinkMetrics are what a node counts of sinks.
type sinkMetrics struct {
	messages, failures *prometheus.CounterVec
	state, bytes       *prometheus.GaugeVec
	seconds            *prometheus.HistogramVec

	mu   sync.Mutex
	have map[[2]string]int // app and group → how often it was begun and not ended
}

func newSinkMetrics(registry *prometheus.Registry) *sinkMetrics {
	labels := []string{"app", "group"}
	m := &sinkMetrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleetwire_sink_messages_total", Help: "Messages of groups that this node took to their sinks, by result: delivered, refused, or given_back because the sink took nothing or the node drains.",
		}, append(labels, "result")),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleetwire_sink_failures_total", Help: "Batches that a sink did not take, or not whole.",
		}, labels),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fleetwire_sink_state", Help: "How a sink does: 0 ok, 1 failing, 2 stopped.",
		}, labels),
		bytes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fleetwire_sink_group_bytes", Help: "Bytes that the messages and dead letters of a sink's group take, as this node has seen last.",
		}, labels),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fleetwire_sink_delivery_seconds", Help: "Time that a sink's target took for a batch, whether or not it took the messages.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
		}, labels),
		have: map[[2]string]int{},
	}
	registry.MustRegister(m.messages, m.failures, m.state, m.bytes, m.seconds)
	return m
}

// Sink are the metrics of one sink. It is safe for concurrent use.
type Sink struct {
	of                            *sinkMetrics
	app, group                    string
	own                           bool // the time series are its own
	delivered, refused, givenBack prometheus.Counter
	failures                      prometheus.Counter
	seconds                       prometheus.Observer
}

// Sink returns the metrics of a sink. Gone must be called when the node has it no more.
func (m *Metrics) Sink(app, group string) *Sink {
	of := m.sinks
	of.mu.Lock()
	defer of.mu.Unlock()
	at := [2]string{app, group}
	own := of.have[at] > 0 || len(of.have) < maxSinks
	if own {
		of.have[at]++
	} else {
		app, group = otherSinks, otherSinks
	}
	return &Sink{
		of: of, app: app, group: group, own: own, failures: of.failures.WithLabelValues(app, group), seconds: of.seconds.WithLabelValues(app, group),
		delivered: of.messages.WithLabelValues(app, group, "delivered"),
		refused:   of.messages.WithLabelValues(app, group, "refused"),
		givenBack: of.messages.WithLabelValues(app, group, "given_back"),
	}
}

// Delivered counts messages that the sink has taken.
func (s *Sink) Delivered(messages int) { s.delivered.Add(float64(messages)) }

// Refused counts messages that the sink did not take, by their own fault.
func (s *Sink) Refused(messages int) { s.refused.Add(float64(messages)) }

// GivenBack counts messages that wait again.
func (s *Sink) GivenBack(messages int) { s.givenBack.Add(float64(messages)) }

// Failed counts a batch that the sink did not take.
func (s *Sink) Failed() { s.failures.Inc() }

// Took measures how long the target took for a batch.
func (s *Sink) Took(d time.Duration) { s.seconds.Observe(d.Seconds()) }

// Does reports how the sink does: 0 ok, 1 failing, 2 stopped.
func (s *Sink) Does(state int) { s.set(s.of.state, float64(state)) }

// Holds reports how many bytes the group takes.
func (s *Sink) Holds(bytes int64) { s.set(s.of.bytes, float64(bytes)) }

func (s *Sink) set(gauge *prometheus.GaugeVec, value float64) {
	if s.own {
		gauge.WithLabelValues(s.app, s.group).Set(value)
	}
}

// Gone ends the time series, unless the same sink has begun anew.
func (s *Sink) Gone() {
	if !s.own {
		return
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	at := [2]string{s.app, s.group}
	if s.of.have[at]--; s.of.have[at] > 0 {
		return
	}
	delete(s.of.have, at)
	of := prometheus.Labels{"app": s.app, "group": s.group}
	s.of.messages.DeletePartialMatch(of)
	s.of.failures.DeletePartialMatch(of)
	s.of.state.DeletePartialMatch(of)
	s.of.bytes.DeletePartialMatch(of)
	s.of.seconds.DeletePartialMatch(of)
}
