package conn

import (
	"time"

	"fleetwire/clients/go/protocol"
)

// Portion is frames that a connection is sent when it has taken everything else, and
// that may become void while they wait: commands. A Portion with Written does not count
// against the bound of unsent bytes. Its sender sends the next one after Written.
type Portion struct {
	Frames []Perishable
	// Written, if not nil, is called once: when the socket has taken all frames that
	// were not void (all), or because the connection ends. It must not block, nor call
	// the Conn.
	Written func(all bool)

	bytes int // of Frames
	next  *Portion
}

// Perishable is a frame that is not written any more at Until (Options.Ticks), or
// at any time if that is 0.
type Perishable struct {
	Frame []byte
	Until time.Duration
}

func (p *Portion) written(all bool) {
	if p.Written != nil {
		p.Written(all)
	}
}

// AppendPortion queues a portion behind all others. flush is as in Append. A connection
// that cannot take it, as it ends, drops it.
func (c *Conn) AppendPortion(p *Portion) (flush bool) {
	for i := range p.Frames {
		p.bytes += len(p.Frames[i].Frame)
	}
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing != nil || q.broken {
		p.written(false)
		return false
	}
	last, counted := &q.portions, 0
	for ; *last != nil; last = &(*last).next {
		if (*last).Written == nil {
			counted += (*last).bytes
		}
	}
	if p.Written == nil && counted+p.bytes > protocol.UnsentBytesLimit {
		c.beginClose(protocol.Closef(protocol.ClosePolicy, protocol.ReasonSlowConsumer), true)
		return q.needFlush()
	}
	*last = p
	return q.needFlush()
}

// Withdraw drops the frames of a portion that have not begun to be written.
func (c *Conn) Withdraw(p *Portion) {
	c.out.mu.Lock()
	p.drop(len(p.Frames))
	c.out.mu.Unlock()
	c.Flush() // it counts as written
}

// flushPortions writes portions while nothing else is queued. It is called with the
// queue locked.
func (c *Conn) flushPortions() {
	q := &c.out
	for q.portions != nil && len(q.frames) == 0 && q.started && !q.draining && !q.broken {
		p := q.portions
		chunk, frames, release := p.gather(c.opt.Ticks())
		var n int
		var err error
		if len(chunk) > 0 {
			n, err = c.sock.tryWrite(chunk)
		}
		full := n < len(chunk)
		if full {
			frames = q.splitFrame(p.Frames, n)
		}
		release()
		if err != nil {
			c.abort()
			return
		}
		if c.tapped() {
			for _, f := range p.Frames[:frames] {
				c.tap(f.Frame)
			}
		}
		p.drop(frames)
		if len(p.Frames) == 0 {
			q.portions = p.next
			p.written(true)
		}
		if full {
			c.awaitRoom(n)
		} else if n > 0 {
			q.progress = 0
		}
	}
}

// gather joins frames at the head of the portion into one chunk. Frames that are void
// by now are dropped.
func (p *Portion) gather(now time.Duration) (chunk []byte, frames int, release func()) {
	p.dropVoid(now)
	if len(p.Frames) == 0 {
		return nil, 0, func() {}
	}
	if len(p.Frames) == 1 || len(p.Frames[0].Frame) >= maxWrite {
		return p.Frames[0].Frame, 1, func() {}
	}
	buffer := gatherBuffers.Get().(*[]byte)
	for _, f := range p.Frames {
		if f.void(now) || len(*buffer)+len(f.Frame) > maxWrite {
			break
		}
		*buffer = append(*buffer, f.Frame...)
		frames++
	}
	return *buffer, frames, func() { *buffer = (*buffer)[:0]; gatherBuffers.Put(buffer) }
}

func (f *Perishable) void(now time.Duration) bool { return f.Until != 0 && now >= f.Until }

// dropVoid drops the frames at the head of the portion that are void by now.
func (p *Portion) dropVoid(now time.Duration) {
	void := 0
	for void < len(p.Frames) && p.Frames[void].void(now) {
		void++
	}
	p.drop(void)
}

func (p *Portion) drop(frames int) {
	for i := range p.Frames[:frames] {
		p.bytes -= len(p.Frames[i].Frame)
		p.Frames[i] = Perishable{}
	}
	p.Frames = p.Frames[frames:]
}

// splitFrame returns how many of the frames have begun, of which the socket has taken
// n bytes. The rest of the last one is queued before everything else: a frame that has
// begun must end. It is called with the queue locked, and empty.
func (q *queue) splitFrame(frames []Perishable, n int) (begun int) {
	for ; n > 0; begun++ {
		f := frames[begun].Frame
		if n < len(f) {
			q.push(f[n:])
			q.partial = true
		}
		n -= len(f)
	}
	return begun
}

// keepPortions queues what is in portions with everything else, as the connection is
// about to be closed. It is called with the queue locked.
func (c *Conn) keepPortions() {
	now, q := c.opt.Ticks(), &c.out
	q.uncounted = min(q.uncounted, q.bytes)
	for p := q.portions; p != nil; p = p.next {
		if p.Written != nil {
			q.uncounted += p.bytes
		}
		for i := range p.Frames {
			if !p.Frames[i].void(now) {
				_, _ = c.enqueueWithin(p.Frames[i].Frame)
			}
		}
	}
	c.dropPortions()
}

// dropPortions is called with the queue locked.
func (c *Conn) dropPortions() {
	for p := c.out.portions; p != nil; p = p.next {
		p.written(false)
	}
	c.out.portions = nil
}
