package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Survey is what one node has read in Redis for all.
type Survey struct {
	Apps   []AppUse
	Groups []GroupState
}

// AppUse is what an app has used of its plan.
type AppUse struct {
	App                   string
	Connections, Messages int64
	// The caps count if the app is Capped.
	Capped                      bool
	MaxConnections, MaxMessages int64
}

// GroupState is what waits for a group.
type GroupState struct {
	App, Group         string
	Lag, Pending, Dead int64 // messages
	Bytes, MaxBytes    int64
	OldestAge          time.Duration
}

// Surveyed has the metrics show a survey; nil: none. It replaces the former.
func (m *Metrics) Surveyed(s *Survey) { m.survey.Store(s) }

type surveyCollector struct{ m *Metrics }

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help+" One node of all shows it.", labels, nil)
}

var (
	appConnections    = gauge("fleetwire_app_connections", "Connections of an app on all nodes.", "app")
	appMaxConnections = gauge("fleetwire_app_max_connections", "Connections that the app's plan allows. There is none where overages pass.", "app")
	appMessages       = gauge("fleetwire_app_messages_used", "Messages that an app has used in this period.", "app")
	appMaxMessages    = gauge("fleetwire_app_max_messages", "Messages that the app's plan allows in a period. There is none where overages pass.", "app")

	groupLag      = gauge("fleetwire_group_lag", "Messages of a group that wait to be delivered.", "app", "group")
	groupPending  = gauge("fleetwire_group_pending", "Messages of a group that are delivered and not acknowledged.", "app", "group")
	groupDead     = gauge("fleetwire_group_dead", "Dead letters of a group.", "app", "group")
	groupOldest   = gauge("fleetwire_group_oldest_age_seconds", "Age of the oldest message of a group that is no dead letter; 0 without any.", "app", "group")
	groupBytes    = gauge("fleetwire_group_bytes", "Bytes that messages and dead letters of a group take.", "app", "group")
	groupMaxBytes = gauge("fleetwire_group_max_bytes", "Bytes that messages and dead letters of the group may take.", "app", "group")
)

func (surveyCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{appConnections, appMaxConnections, appMessages, appMaxMessages, groupLag, groupPending, groupDead, groupOldest, groupBytes, groupMaxBytes} {
		to <- d
	}
}

func (c surveyCollector) Collect(to chan<- prometheus.Metric) {
	s := c.m.survey.Load()
	if s == nil {
		return
	}
	show := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, a := range s.Apps {
		show(appConnections, float64(a.Connections), a.App)
		show(appMessages, float64(a.Messages), a.App)
		if a.Capped {
			show(appMaxConnections, float64(a.MaxConnections), a.App)
			show(appMaxMessages, float64(a.MaxMessages), a.App)
		}
	}
	for _, g := range s.Groups {
		for d, value := range map[*prometheus.Desc]int64{groupLag: g.Lag, groupPending: g.Pending, groupDead: g.Dead, groupBytes: g.Bytes, groupMaxBytes: g.MaxBytes} {
			show(d, float64(value), g.App, g.Group)
		}
		show(groupOldest, g.OldestAge.Seconds(), g.App, g.Group)
	}
}
