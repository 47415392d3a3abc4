package stage

import (
	"strconv"
	"testing"
	"time"

	"fleetwire/chaos/internal/plan"
	"fleetwire/pkg/redisconn/redistest"
)

// A link is what a node reaches Redis through: one connection or many, to one server or many.
type link interface {
	// Pass has what the node sends go through up, and what Redis answers through down.
	Pass(up, down redistest.Hook)
	// Cut ends all connections that are open.
	Cut()
}

// named is the link of a node to several servers, whose connections have its name.
type named struct {
	links *redistest.Links
	name  string
}

func (n named) Pass(up, down redistest.Hook) { n.links.Pass(n.name, up, down) }
func (n named) Cut()                         { n.links.Cut(n.name) }

// nameOf is the name of a node's connections, which ends in what its URL says more.
func nameOf(node int) string { return "node-" + strconv.Itoa(node) }

func withName(url string, node int) string { return url + "?client_name=" + nameOf(node) }

// injectLink begins a fault of a node's link; nil: it is another fault. away is what keeps new
// connections from Redis until back.
func injectLink(t testing.TB, step plan.Step, l link, away, back func()) lift {
	switch step.Fault.Name {
	case "link-cut":
		l.Cut()
		return then(func() {})
	case "link-gone":
		away()
		l.Cut()
		return then(back)
	case "link-deaf":
		return then(hold(t, l, false))
	case "link-mute":
		return then(hold(t, l, true))
	case "link-slow":
		slow := func(b []byte) ([]byte, bool) { time.Sleep(step.Delay); return b, false }
		l.Pass(slow, slow)
		return then(func() { l.Pass(nil, nil) })
	}
	return nil
}

// injectNamed is injectLink for a link to several servers.
func injectNamed(t testing.TB, step plan.Step, links *redistest.Links) lift {
	l := named{links, nameOf(step.Node)}
	end := func([]byte) ([]byte, bool) { return nil, true }
	return injectLink(t, step, l, func() { l.Pass(end, end) }, func() { l.Pass(nil, nil) })
}

// hold lets nothing through in one direction, as a link on which TCP stays open.
// Messages that were sent meanwhile come late, when the hold ends.
func hold(t testing.TB, l link, up bool) (lift func()) {
	ended := make(chan struct{})
	held := func(b []byte) ([]byte, bool) { <-ended; return b, false }
	if up {
		l.Pass(held, nil)
	} else {
		l.Pass(nil, held)
	}
	end := func() {
		l.Pass(nil, nil)
		select {
		case <-ended:
		default:
			close(ended)
		}
	}
	t.Cleanup(end)
	return end
}
