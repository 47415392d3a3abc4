package session

import (
	"time"

	"fleetwire/pkg/protocol"
)

// holdLimit is how long a direct message waits for a snapshot at most.
const holdLimit = 3 * time.Second

// held is the direct messages that wait until the connection has the snapshots that
// it is promised (protocol §4.3). A peer that has seen it join may send to it at
// once, and peers drop messages from a peer that they have not heard of.
type held struct {
	snapshots int // promised
	frames    [][]byte
	bytes     int
	giveUp    *time.Timer // runs while there are frames
	over      bool        // what waited did so for too long, or was too much
}

// hold has direct messages wait for one snapshot more.
func (c *Conn) hold() {
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held == nil {
		q.held = &held{}
	}
	q.held.snapshots++
}

// holdNoMore undoes hold: the snapshot will not come.
func (c *Conn) holdNoMore() {
	c.out.mu.Lock()
	flush := c.release()
	c.out.mu.Unlock()
	if flush {
		c.Flush()
	}
}

// AppendDirect is Append for a direct message (hub.Subscriber).
func (c *Conn) AppendDirect(frame []byte, sequence uint64) (queued, flush bool) {
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isNew(sequence) {
		return false, false
	}
	h := q.held
	if h == nil || h.over {
		return c.enqueue(frame)
	}
	h.frames = append(h.frames, frame)
	h.bytes += len(frame)
	if h.bytes > protocol.MaxFrameBytes {
		return true, c.stopHolding()
	}
	if h.giveUp == nil {
		h.giveUp = time.AfterFunc(holdLimit, c.giveUpHolding)
	}
	return true, false
}

func (c *Conn) giveUpHolding() {
	c.out.mu.Lock()
	flush := c.stopHolding()
	c.out.mu.Unlock()
	if flush {
		c.Flush()
	}
}

// release is called with the queue locked for each snapshot that has come, or will
// not. With the last, what was held is queued.
func (c *Conn) release() (flush bool) {
	h := c.out.held
	if h.snapshots--; h.snapshots > 0 {
		return false
	}
	flush = c.stopHolding()
	c.out.held = nil
	return flush
}

// stopHolding is called with the queue locked. It queues what is held, if anything.
func (c *Conn) stopHolding() (flush bool) {
	h := c.out.held
	if h == nil || h.over {
		return false
	}
	h.over = true
	if h.giveUp != nil {
		h.giveUp.Stop()
	}
	for _, frame := range h.frames {
		_, needed := c.enqueue(frame)
		flush = flush || needed
	}
	h.frames = nil
	return flush
}
