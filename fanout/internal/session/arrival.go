package session

import (
	"sync/atomic"

	"fleetwire/fanout/internal/conn"
)

// arrival is the session as the hub's Subscriber in a channel that it has just subscribed
// to by name: until what waits for the peer there is sent, live messages wait.
type arrival struct {
	*Session
	live conn.Hold
}

// newArrival returns an arrival whose messages are dropped once void is true.
func newArrival(s *Session, void *atomic.Bool) *arrival {
	e := &arrival{Session: s}
	s.HoldFirmly(&e.live, void)
	return e
}

func (e *arrival) Append(frame []byte, sequence uint64) (queued, flush bool) {
	return e.AppendBehind(&e.live, frame, sequence)
}

// Entering says that the subscription is new (commands.Receiver).
func (e *arrival) Entering() bool { return true }

// over lets live messages pass. From then on the session itself is the Subscriber.
func (e *arrival) over(app, channelName string) {
	flush := e.Release(&e.live)
	e.opt.Hub.Replace(e, e.Session, app, channelName)
	if flush {
		e.Flush()
	}
}
