package telemetry

import (
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxApps is how many apps of a node have time series of their own. All others are counted
// together.
const maxApps = 100

// otherApps is the app of those.
const otherApps = "other"

// AppCount is what an app has done on a node since the node started.
type AppCount struct {
	App                            string
	Published, Refused, Deliveries uint64
}

// CountApps reads what apps have done from read, and from known which apps there are. The series of
// an app that is gone end, and the next new app has its place.
func (m *Metrics) CountApps(read func() []AppCount, known func(app string) bool) {
	m.registry.MustRegister(&appsCollector{read: read, known: known, own: map[string]bool{}})
}

type appsCollector struct {
	read  func() []AppCount
	known func(app string) bool

	mu  sync.Mutex
	own map[string]bool // whether an app that was seen has series of its own: it stays so
}

var (
	appPublishes = prometheus.NewDesc("fleetwire_app_publishes_total", "Messages given to this node to publish, by app and result: ok or refused.", []string{"app", "result"}, nil)
	appDelivered = prometheus.NewDesc("fleetwire_app_deliveries_total", "Messages handed to connections of this node, by app.", []string{"app"}, nil)
)

func (*appsCollector) Describe(to chan<- *prometheus.Desc) {
	to <- appPublishes
	to <- appDelivered
}

func (c *appsCollector) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var other *AppCount
	for _, app := range c.shown() {
		if c.own[app.App] {
			app.collect(to)
			continue
		}
		if other == nil {
			other = &AppCount{App: otherApps}
		}
		other.Published += app.Published
		other.Refused += app.Refused
		other.Deliveries += app.Deliveries
	}
	if other != nil {
		other.collect(to)
	}
}

// shown are the apps to show, with those that are gone and have been counted with the others: a
// counter must not fall.
func (c *appsCollector) shown() []AppCount {
	apps := slices.DeleteFunc(c.read(), func(a AppCount) bool {
		own, seen := c.own[a.App]
		gone := !c.known(a.App) && (own || !seen)
		if gone {
			delete(c.own, a.App)
		}
		return gone
	})
	slices.SortFunc(apps, func(a, b AppCount) int { return strings.Compare(a.App, b.App) })
	places := maxApps
	for _, own := range c.own {
		if own {
			places--
		}
	}
	for _, a := range apps {
		if _, seen := c.own[a.App]; !seen {
			c.own[a.App] = places > 0
			places--
		}
	}
	return apps
}

func (a *AppCount) collect(to chan<- prometheus.Metric) {
	show := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	show(appPublishes, a.Published, a.App, "ok")
	show(appPublishes, a.Refused, a.App, "refused")
	show(appDelivered, a.Deliveries, a.App)
}
