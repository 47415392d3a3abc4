package conn

import "sync"

// maxWrite is how much of a queue is gathered into one write.
const maxWrite = 64 << 10

var gatherBuffers = sync.Pool{New: func() any { b := make([]byte, 0, maxWrite); return &b }}

// Flush writes what is queued, as far as the socket takes it at once. The rest
// is written when the socket takes more, so that no caller waits for a slow
// peer.
func (c *Conn) Flush() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.flush()
}

// flush is called with the queue locked.
func (c *Conn) flush() {
	q := &c.out
	q.flushAsked = false
	for len(q.frames) > 0 && q.started && !q.draining && !q.broken {
		chunk, frames, release := q.gather()
		n, err := c.sock.tryWrite(chunk)
		release()
		if err != nil {
			c.abort()
			return
		}
		q.bytes -= n
		if n == len(chunk) {
			q.drop(frames)
			q.progress = 0
			continue
		}
		q.skip(n)
		c.awaitRoom(n)
	}
	if q.portions != nil {
		c.flushPortions()
	}
}

// awaitRoom has the connection written to again when its socket takes more. It took n
// bytes now. It is called with the queue locked.
func (c *Conn) awaitRoom(n int) {
	q := &c.out
	q.draining = true
	if n > 0 || q.progress == 0 {
		q.progress = c.opt.Ticks()
	}
	c.sock.awaitWritable(c)
}

// gather joins the frames at the head of the queue into one chunk. A single
// frame is written from where it lies.
func (q *queue) gather() (chunk []byte, frames int, release func()) {
	if len(q.frames) == 1 || len(q.frames[0]) >= maxWrite {
		return q.frames[0], 1, func() {}
	}
	buffer := gatherBuffers.Get().(*[]byte)
	for _, f := range q.frames {
		if len(*buffer)+len(f) > maxWrite {
			break
		}
		*buffer = append(*buffer, f...)
		frames++
	}
	return *buffer, frames, func() { *buffer = (*buffer)[:0]; gatherBuffers.Put(buffer) }
}

// drop forgets the first frames of the queue, which are written.
func (q *queue) drop(frames int) {
	q.partial = false
	if frames == len(q.frames) {
		// A connection that had much queued once should not keep the room for it.
		clear(q.frames)
		q.frames = q.frames[:0]
		if cap(q.frames) > 8 {
			q.frames = nil
		}
		return
	}
	clear(q.frames[:frames])
	q.frames = q.frames[frames:]
}

// skip forgets the first n bytes of the queue, which are written. Shared frames
// are not changed, only the view of them.
func (q *queue) skip(n int) {
	for n > 0 && n >= len(q.frames[0]) {
		n -= len(q.frames[0])
		q.drop(1)
	}
	if n > 0 {
		q.frames[0] = q.frames[0][n:]
		q.partial = true
	}
}

// abort is called with the queue locked when the socket takes nothing any
// more: the connection is over, and the loop ends it.
func (c *Conn) abort() {
	c.out.broken = true
	c.out.frames = nil
	c.dropPortions()
	c.sock.wake(c)
}
