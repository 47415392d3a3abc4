package conn

import (
	"sync/atomic"
	"time"

	"fleetwire/clients/go/protocol"
)

// holdLimit is how long a frame waits in a Hold at most.
const holdLimit = 3 * time.Second

// Hold is where frames wait until what must come before them is queued. The zero Hold
// lets all frames pass. A connection can have several; its queue's lock guards them.
type Hold struct{ held *held }

// held is what waits in one Hold.
type held struct {
	awaited int // how much must still come before the frames
	frames  [][]byte
	bytes   int
	timeout *time.Timer // runs while there are frames
	over    bool        // frames pass: some waited for too long, or they were too much
	firm    bool        // neither time nor size lets them pass
	void    *atomic.Bool
	next    *held // of the same connection
}

// Hold has the frames of h wait for one thing more, until Release.
func (c *Conn) Hold(h *Hold) {
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if h.held == nil {
		h.held = &held{next: q.held}
		q.held = h.held
	}
	h.held.awaited++
}

// HoldFirmly is Hold for frames that pass before Release only if the connection is closed
// in order. If they are too much, it is closed as a slow one. Once void is true they are
// dropped instead; none is queued behind what is queued then.
func (c *Conn) HoldFirmly(h *Hold, void *atomic.Bool) {
	c.Hold(h)
	c.out.mu.Lock()
	h.held.firm, h.held.void = true, void
	c.out.mu.Unlock()
}

// Release undoes one Hold: what the frames waited for is queued, or will not come. The
// last Release queues the frames. flush is as in Append.
func (c *Conn) Release(h *Hold) (flush bool) {
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if h.held.awaited--; h.held.awaited > 0 {
		return false
	}
	flush = c.release(h.held)
	q.forget(h.held)
	h.held = nil
	return flush
}

// AppendBehind is Append for a frame that waits while h holds.
func (c *Conn) AppendBehind(h *Hold, frame []byte, sequence uint64) (queued, flush bool) {
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isNew(sequence) {
		return false, false
	}
	w := h.held
	if w == nil || w.over {
		return c.enqueue(frame)
	}
	w.frames = append(w.frames, frame)
	w.bytes += len(frame)
	if w.firm {
		if q.bytes+w.bytes > protocol.UnsentBytesLimit+q.uncounted {
			c.beginClose(protocol.Closef(protocol.ClosePolicy, protocol.ReasonSlowConsumer), true)
			return false, q.needFlush()
		}
		return true, false
	}
	if w.bytes > protocol.MaxFrameBytes {
		return true, c.release(w)
	}
	if w.timeout == nil {
		w.timeout = time.AfterFunc(holdLimit, func() { c.timeOut(w) })
	}
	return true, false
}

// timeOut releases frames that have waited for too long.
func (c *Conn) timeOut(w *held) {
	c.out.mu.Lock()
	flush := c.release(w)
	c.out.mu.Unlock()
	if flush {
		c.Flush()
	}
}

// release queues the frames, if any, and lets those pass that come later. It is called
// with the queue locked.
func (c *Conn) release(w *held) (flush bool) {
	if w.over {
		return false
	}
	w.over = true
	if w.timeout != nil {
		w.timeout.Stop()
	}
	if w.void != nil && w.void.Load() {
		w.frames = nil
	}
	for _, frame := range w.frames {
		_, needed := c.enqueue(frame)
		flush = flush || needed
	}
	w.frames = nil
	return flush
}

// releaseAll is called with the queue locked.
func (c *Conn) releaseAll() {
	for w := c.out.held; w != nil; w = w.next {
		c.release(w)
	}
}

// forget takes w out of the list. It is called with the queue locked.
func (q *queue) forget(w *held) {
	at := &q.held
	for *at != w {
		at = &(*at).next
	}
	*at = w.next
}
