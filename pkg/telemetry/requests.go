package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// CountRequests adds the metrics of a control plane, and returns what counts a
// request: the template of the route that served it ("" for none), its method, the
// status of the answer, and how long that took. It may be called once.
//
// Nothing that a caller makes up becomes a label, or it could make as many time
// series as it likes. No label is a string of the request either: the server may
// use its memory again.
func (m *Metrics) CountRequests() func(route, method string, status int, took time.Duration) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fleetwire_http_requests_total", Help: "REST requests answered, by route (its template, or none), method and status.",
	}, []string{"route", "method", "status"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "fleetwire_http_request_seconds", Help: "Time from a REST request's headers to its answer, by route and method.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"route", "method"})
	m.registry.MustRegister(total, seconds)
	return func(route, method string, status int, took time.Duration) {
		if route == "" {
			route = "none"
		}
		method = methodLabel(method)
		total.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
		seconds.WithLabelValues(route, method).Observe(took.Seconds())
	}
}

// CountCommands adds the metric of the commands that a control plane is asked for, and returns
// what counts one by its result. It may be called once.
func (m *Metrics) CountCommands() func(result string) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fleetwire_commands_total", Help: "Commands that REST requests asked for, by result: the command's status when the request was answered, or an error code.",
	}, []string{"result"})
	m.registry.MustRegister(total)
	return func(result string) { total.WithLabelValues(result).Inc() }
}

var methods = []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodOptions}

func methodLabel(method string) string {
	for _, known := range methods {
		if method == known {
			return known
		}
	}
	return "other"
}
