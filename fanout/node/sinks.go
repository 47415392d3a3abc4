package node

import (
	"time"

	"fleetwire/pkg/sink"
	"fleetwire/pkg/telemetry"
)

// sinkDrain is how long deliveries to sinks that are under way may still take.
const sinkDrain = 15 * time.Second

// newSinks makes what delivers the messages of groups that have a sink.
func (n *Node) newSinks() {
	n.sinks = sink.NewRunner(sink.Options{
		Redis: n.opt.Redis, Keys: n.opt.Keys, Apps: n.opt.Apps, Node: n.id, Maker: n.opt.Sinks, Dropped: n.dropped, Log: n.opt.Log,
		Observe: func(app, group string) sink.Observer { return observedSink{n.metrics.Sink(app, group)} },
	})
}

// drainSinks has sinks take no more messages, and finish what is under way. It does not block.
// The function that it returns waits for that.
func (n *Node) drainSinks() (wait func()) {
	n.sinks.Drain()
	ctx, cancel := n.unlessHurried(sinkDrain)
	return func() {
		defer cancel()
		n.sinks.Close(ctx)
	}
}

// sinkStates are the conditions of sinks as metrics have them.
var sinkStates = map[sink.Condition]int{sink.OK: 0, sink.Failing: 1, sink.Stopped: 2}

type observedSink struct{ *telemetry.Sink }

func (s observedSink) Is(c sink.Condition) { s.Does(sinkStates[c]) }

var _ sink.Observer = observedSink{}
