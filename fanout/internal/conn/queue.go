package conn

import (
	"sync"
	"time"

	"fleetwire/clients/go/protocol"
)

// queue is what a connection has yet to be sent. Its bytes are bounded: a peer
// that does not read costs at most that, and is then disconnected.
type queue struct {
	mu     sync.Mutex
	frames [][]byte
	room   [1][]byte // where frames lie while there is one, as there mostly is
	bytes  int       // unsent, those in the hands of the drain goroutine included

	progress   time.Duration // with draining: when the socket last took something (Options.Ticks)
	started    bool          // it may be written
	draining   bool          // the socket is full: it will be written to when it takes more
	flushAsked bool          // a caller has been told to Flush
	broken     bool          // the socket takes nothing any more
	resumed    bool          // Resume has been called
	partial    bool          // the first of frames is the rest of one that is partly written

	closing  *protocol.CloseError // why the server closes; its frame is the last
	held     *held                // what waits in Holds, a list
	portions *Portion             // written when all of frames are, a list
	sequence uint64               // of the last frame from the hub
	// uncounted is how many bytes of a large frame do not count against the bound.
	uncounted int
}

// Append queues a shared, immutable frame, unless it was given one with this sequence
// already. queued says that it did; flush, that the caller must Flush: no other will.
func (c *Conn) Append(frame []byte, sequence uint64) (queued, flush bool) {
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isNew(sequence) {
		return false, false
	}
	return c.enqueue(frame)
}

// Claim says whether the connection was not given anything with this sequence, and has it
// given nothing more with it.
func (c *Conn) Claim(sequence uint64) bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.isNew(sequence)
}

// Queue queues shared frames that were claimed before. flush is as in Append.
func (c *Conn) Queue(frames [][]byte) (flush bool) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for _, frame := range frames {
		_, needed := c.enqueue(frame)
		flush = flush || needed
	}
	return flush
}

// isNew says whether the hub gives the connection this for the first time. It is
// called with the queue locked.
func (q *queue) isNew(sequence uint64) bool {
	was := q.sequence
	q.sequence = sequence
	return was != sequence
}

// enqueue is called with the queue locked.
func (c *Conn) enqueue(frame []byte) (queued, flush bool) {
	c.out.uncounted = min(c.out.uncounted, c.out.bytes) // as far as it is sent
	return c.enqueueWithin(frame)
}

// begin puts what precedes all frames into the queue. It is never dropped: like
// the rest of a frame, it is part of something that the peer has begun to read.
func (q *queue) begin(answer []byte) {
	if len(answer) > 0 {
		q.push(answer)
		q.partial = true
	}
}

// AppendUncounted queues a shared frame that may be larger than all that may be unsent
// otherwise: what of it is over the bound does not count until it is sent. flush is as
// in Append.
func (c *Conn) AppendUncounted(frame []byte) (flush bool) {
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes <= protocol.UnsentBytesLimit {
		q.uncounted = len(frame)
	}
	_, flush = c.enqueueWithin(frame)
	return flush
}

func (c *Conn) enqueueWithin(frame []byte) (queued, flush bool) {
	q := &c.out
	if q.closing != nil || q.broken {
		return false, false
	}
	if q.bytes+len(frame) > protocol.UnsentBytesLimit+q.uncounted {
		c.beginClose(protocol.Closef(protocol.ClosePolicy, protocol.ReasonSlowConsumer), true)
		return false, q.needFlush()
	}
	q.push(frame)
	if c.tapped() {
		c.tap(frame)
	}
	return true, q.needFlush()
}

func (c *Conn) tapped() bool { return c.opt.Tapped != nil && c.opt.Tapped.Load() }

// tap tells of frames that are sent, while that is asked for.
func (c *Conn) tap(frames []byte) {
	if t, ok := c.handler.(Tapper); ok {
		t.Sent(frames)
	}
}

func (q *queue) push(frame []byte) {
	if q.frames == nil {
		q.frames = q.room[:0]
	}
	q.frames = append(q.frames, frame)
	q.bytes += len(frame)
}

func (q *queue) needFlush() bool {
	if q.draining || q.flushAsked {
		return false
	}
	q.flushAsked = true
	return true
}

// Send queues a frame of this connection's own, whose body build appends. It is
// written with the next Flush.
func (c *Conn) Send(build func(dst []byte) []byte) {
	c.sendFrame(protocol.AppendTextFrame(nil, build(nil)))
}

func (c *Conn) sendFrame(frame []byte) {
	c.out.mu.Lock()
	c.enqueue(frame)
	c.out.mu.Unlock()
}

// Close ends the connection from the server's side: after what is queued comes
// a close frame, and nothing is done any more that the peer asks. Only the first
// Close counts: it says whether this is it.
func (c *Conn) Close(why *protocol.CloseError) bool {
	c.out.mu.Lock()
	first := c.beginClose(why, false)
	c.out.mu.Unlock()
	c.Flush()
	return first
}

// beginClose is called with the queue locked. With drop, what is queued is given
// up, but for the rest of a frame that is partly written.
func (c *Conn) beginClose(why *protocol.CloseError, drop bool) (first bool) {
	q := &c.out
	if !drop {
		c.keepPortions()
		c.releaseAll()
	}
	if q.closing != nil || q.broken {
		return false
	}
	if drop {
		c.dropPortions()
		keep := 0
		if q.partial {
			keep = 1
		}
		for _, f := range q.frames[keep:] {
			q.bytes -= len(f)
		}
		clear(q.frames[keep:])
		q.frames = q.frames[:keep]
	}
	q.closing = why
	frame := protocol.AppendCloseFrame(nil, why.Code, why.Reason)
	q.push(frame)
	c.sock.wake(c)
	return true
}

func (q *queue) closeSent() *protocol.CloseError {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closing
}

// over returns why there is nothing to do any more for the peer, or nil.
func (q *queue) over() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closing != nil:
		return errClosed
	case q.broken:
		return errBroken
	}
	return nil
}
