package conn

import (
	"errors"
	"sync"
	"time"

	"fleetwire/clients/go/protocol"
)

// readBufferSize is room for the frames that devices usually send; a larger
// frame gets a buffer of its own size.
const readBufferSize = 4096

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readBufferSize); return &b }}

// reader gathers bytes until they make up whole frames. It has a buffer only
// while it holds bytes.
type reader struct {
	buffer     []byte
	pooled     *[]byte // where buffer came from, nil: made for one large frame
	start, end int     // what of buffer is yet to be consumed

	fragments   []byte // of a message that is not complete yet
	need        int32  // how many bytes the frame at start takes in all, if known
	fragmented  bool
	text        bool // the fragmented message is text
	peerClosing bool // the peer's close frame has come
}

// room returns where the next bytes go: at least one byte, and enough for the
// frame that has begun.
func (r *reader) room() []byte {
	want := max(int(r.need), r.end-r.start+1)
	if r.buffer == nil && want <= readBufferSize {
		r.pooled = readBuffers.Get().(*[]byte)
		r.buffer = *r.pooled
	}
	if want > len(r.buffer) {
		larger := make([]byte, max(want, readBufferSize))
		n := copy(larger, r.buffer[r.start:r.end])
		r.release()
		r.buffer, r.start, r.end = larger, 0, n
	} else if r.start > 0 && (r.end == len(r.buffer) || r.start+want > len(r.buffer)) {
		r.end = copy(r.buffer, r.buffer[r.start:r.end])
		r.start = 0
	}
	return r.buffer[r.end:]
}

func (r *reader) bytes() []byte { return r.buffer[r.start:r.end] }

func (r *reader) consume(n int) {
	r.start += n
	r.releaseIfEmpty()
}

func (r *reader) releaseIfEmpty() {
	if r.start == r.end {
		r.release()
	}
}

func (r *reader) release() {
	if r.pooled != nil {
		readBuffers.Put(r.pooled)
	}
	r.buffer, r.pooled, r.start, r.end = nil, nil, 0, 0
}

// takeEarly takes what came with the upgrade request.
func (c *Conn) takeEarly(early []byte) {
	if len(early) > 0 {
		c.in.buffer, c.in.end, c.buffered = early, len(early), true
	}
}

// fill reads what has come; errNothing says that nothing has.
func (c *Conn) fill() error {
	if c.buffered {
		c.buffered = false // what came early is in the buffer
		return nil
	}
	n, err := c.sock.read(&c.in)
	if err != nil {
		c.in.releaseIfEmpty()
		return err
	}
	c.in.end += n
	c.lastRead.Store(int32(c.opt.Ticks() / time.Second))
	return nil
}

// timeSlice is for how long a connection keeps its loop, though it has more frames: the
// loop's other connections wait meanwhile.
const timeSlice = 500 * time.Microsecond

// yield leaves the frames that are there for later, when other connections were served.
func (c *Conn) yield() {
	c.buffered = true
	c.wake()
}

// read reads once, and does what the frames ask that are there then. A violation
// closes the connection from the server's side and is no error of read.
func (c *Conn) read() error {
	if err := c.fill(); err != nil {
		if errors.Is(err, errNothing) {
			return nil
		}
		return err
	}
	began := c.opt.Ticks()
	for c.out.closeSent() == nil && !c.paused {
		waiting := c.in.bytes()
		if len(waiting) == 0 {
			break
		}
		now := c.opt.Ticks()
		if now-began >= timeSlice {
			c.yield()
			break
		}
		n, err := c.next(waiting, now)
		if err != nil {
			var violation *protocol.CloseError
			if errors.As(err, &violation) {
				c.Close(violation)
				return nil
			}
			return err
		}
		if n == 0 {
			break
		}
		c.in.consume(n)
	}
	c.in.releaseIfEmpty()
	if c.paused {
		c.stopWhilePaused()
	}
	// All answers to what one read brought go out in one write.
	c.Flush()
	return nil
}
