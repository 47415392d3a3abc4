package conn

import (
	"time"

	"fleetwire/clients/go/protocol"
)

// KeepAlive must be called every protocol.PingInterval, with Options.Ticks. It pings
// the peer, or closes with 4000 when nothing was heard from it for
// protocol.InactivityLimit, with 1008 when it took nothing of what waits for it for
// protocol.StallLimit. If that will be before the next call, it closes then, not at the
// call. open says whether the connection is left open.
func (c *Conn) KeepAlive(now time.Duration) (open bool) {
	if c.closeIfInactive(now) || c.closeIfStalled(now) {
		return false
	}
	if left := protocol.InactivityLimit - c.inactive(now); left < protocol.PingInterval {
		time.AfterFunc(left, func() { c.closeIfInactive(c.opt.Ticks()) })
	}
	if left := protocol.StallLimit - c.stalled(now); left < protocol.PingInterval {
		time.AfterFunc(left, func() { c.closeIfStalled(c.opt.Ticks()) })
	}
	c.sendFrame(protocol.PingFrame)
	c.Flush()
	return true
}

func (c *Conn) closeIfInactive(now time.Duration) bool {
	silent := c.inactive(now) >= protocol.InactivityLimit
	if silent {
		c.Close(protocol.Closef(protocol.CloseInactive, ""))
	}
	return silent
}

// inactive is for how long nothing was heard from the peer, up to a second more.
func (c *Conn) inactive(now time.Duration) time.Duration {
	return now - time.Duration(c.lastRead.Load())*time.Second
}

// closeIfStalled gives up a peer that may well ping, but reads nothing: what waits for
// it, such as a large snapshot, is memory of the node's.
func (c *Conn) closeIfStalled(now time.Duration) bool {
	stalled := c.stalled(now) >= protocol.StallLimit
	if stalled {
		c.out.mu.Lock()
		c.beginClose(protocol.Closef(protocol.ClosePolicy, "%s: it took nothing for %v", protocol.ReasonSlowConsumer, protocol.StallLimit), true)
		c.out.mu.Unlock()
	}
	return stalled
}

// stalled is for how long the socket took nothing of what waits.
func (c *Conn) stalled(now time.Duration) time.Duration {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if !c.out.draining {
		return 0
	}
	return now - c.out.progress
}
