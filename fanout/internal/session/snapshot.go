package session

import "fleetwire/pkg/protocol"

// AppendPresence queues a shared frame (watchers.Watcher).
func (c *Conn) AppendPresence(frame []byte) (flush bool) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.enqueuePresence(frame)
}

// AppendSnapshot queues a shared frame, and what was held until then
// (watchers.Watcher).
func (c *Conn) AppendSnapshot(frame []byte) (flush bool) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	flush = c.enqueuePresence(frame)
	return c.release() || flush
}

// enqueuePresence is called with the queue locked. A snapshot may be larger than
// all that may be unsent otherwise: the presence frame that is over the bound does
// not count, until it is sent.
func (c *Conn) enqueuePresence(frame []byte) (flush bool) {
	q := &c.out
	if q.bytes <= protocol.UnsentBytesLimit {
		q.uncounted = len(frame)
	}
	_, flush = c.enqueueWithin(frame)
	return flush
}
