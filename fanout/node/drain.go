package node

import (
	"math/rand/v2"
	"time"

	"fleetwire/pkg/protocol"
)

// Peers are told to come back after between minRetryAfter and that plus the drain
// time plus retrySpread, each at another time: a fleet must not come back at once.
const (
	minRetryAfter = time.Second
	retrySpread   = 4 * time.Second
)

// drain tells every peer that the node goes away, and closes their connections
// with 1001, in random order and evenly over Options.Drain. Those that are being
// admitted meanwhile see n.draining, and close by themselves.
func (n *Node) drain() {
	sessions := n.sessions.all()
	n.opt.Log.Info("draining", "connections", len(sessions), "over", n.opt.Drain)
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	for i, s := range sessions {
		s.GoAway(minRetryAfter + (n.opt.Drain+retrySpread)*time.Duration(i)/time.Duration(len(sessions)))
	}
	begin := time.Now()
	for i, s := range sessions {
		due := n.opt.Drain * time.Duration(i+1) / time.Duration(len(sessions))
		time.Sleep(time.Until(begin.Add(due)))
		s.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	}
}
