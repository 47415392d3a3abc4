package node

import (
	"time"

	"fleetwire/fanout/internal/survey"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/telemetry"
)

// measure has the metrics read what the parts of the node know.
func (n *Node) measure() {
	n.metrics.CountApps(n.appCounts, func(app string) bool { _, ok := n.opt.Apps.Current().App(app); return ok })
	n.metrics.CountDeliveries(n.hub.Delivered)
	n.metrics.CountPresence(n.watchers.Frames, n.watchers.Views)
	if n.opt.LogDropped != nil {
		n.metrics.CountLogDropped(n.opt.LogDropped)
	}
	n.metrics.ReportReady(n.Ready)
	n.metrics.ReportMasters(n.receiver.Masters)
	n.metrics.ReportAppsStale(func() bool { return n.opt.Apps.Stale() != nil })
	n.hub.Observe((*deliveries)(n))
	n.surveyor = survey.New(survey.Options{Redis: n.opt.Redis, Keys: n.opt.Keys, Apps: n.opt.Apps, Node: n.id, Report: n.metrics.Surveyed, Log: n.opt.Log})
}

// appCounts are what apps have done on this node.
func (n *Node) appCounts() (all []telemetry.AppCount) {
	for a := range n.tally.Apps() {
		all = append(all, telemetry.AppCount{App: a.ID, Published: a.Messages.Load(), Refused: a.Dropped(), Deliveries: a.Deliveries.Load()})
	}
	return all
}

// deliveries hears of deliveries (hub.Observer).
type deliveries Node

// Written measures how long a message has taken until all connections of this node have it.
func (n *deliveries) Written(d *envelope.Delivery, began time.Time, connections int) {
	if at, timed := d.TakenAt(); timed {
		n.metrics.Written(time.Since(at), d.ID.Process == n.publisher.Process())
		if n.opt.Tracing != nil {
			n.opt.Tracing.Delivered(d, began, connections)
		}
	}
}
