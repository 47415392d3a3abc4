package node

import (
	"math/rand/v2"
	"time"

	"fleetwire/clients/go/protocol"
)

// A peer comes back minRetryAfter to minRetryAfter + retrySpread after its
// connection is closed, each at another time: a fleet must not come back at once.
const (
	minRetryAfter = time.Second
	retrySpread   = 4 * time.Second
)

// leaver is a connection as far as drain is concerned: a session.
type leaver interface {
	GoAway(retryAfter time.Duration)
	Close(*protocol.CloseError) bool
}

// drain tells every peer that the node goes away, and closes their connections
// with 1001, in random order and evenly over Options.Drain, or at once when it is
// hurried. Those that are being admitted meanwhile see n.draining, and close by
// themselves.
func (n *Node) drain() {
	sessions := n.sessions.all()
	n.opt.Log.Info("draining", "connections", len(sessions), "over", n.opt.Drain)
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	drainAll(sessions, n.opt.Drain, n.pause)
}

// drainAll announces to all, and then closes all. A peer counts retryAfterMs from its frame
// on, so both are reckoned from one beginning: no peer comes back before its
// connection is closed.
func drainAll[S leaver](sessions []S, over time.Duration, pause func(time.Duration)) {
	begin := time.Now()
	for i, s := range sessions {
		_, back := drainTimes(i, len(sessions), over)
		s.GoAway(max(back-time.Since(begin), minRetryAfter))
	}
	for i, s := range sessions {
		closed, _ := drainTimes(i, len(sessions), over)
		pause(time.Until(begin.Add(closed)))
		s.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	}
}

// drainTimes says when the i-th of n connections is closed, and when its peer is to
// be back, both since the drain's beginning.
func drainTimes(i, n int, over time.Duration) (closed, back time.Duration) {
	closed = over * time.Duration(i+1) / time.Duration(n)
	return closed, closed + minRetryAfter + retrySpread*time.Duration(i)/time.Duration(n)
}
