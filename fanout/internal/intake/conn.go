package intake

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// smallHead is the buffer that a head begins with, and freeHead the largest that
	// takes nothing of the budget.
	smallHead = 4 << 10
	freeHead  = 16 << 10
	// answerTime is how long a client may take to receive a refusal.
	answerTime = 5 * time.Second
)

var smallHeads = sync.Pool{New: func() any { return new([smallHead]byte) }}

type part uint8

const (
	awaitHead part = iota
	handHead       // the head is complete, and handed to the server
	body           // the server reads a body of known length
	chunkedBody
)

// Conn is one client's connection. Its methods are called by the goroutine that
// serves it; Close by any.
type Conn struct {
	net.Conn // tcp, without what would go round Read and Write
	tcp      *net.TCPConn
	of       *Listener

	// buffer[start:end] is received and not handed on yet. There is no buffer while
	// that is empty.
	buffer     []byte
	small      *[smallHead]byte // where buffer came from, nil: made for a large head
	start, end int
	first      [1]byte // of a head

	part   part
	head   headScanner
	left   int64 // of the head or body, to be handed on
	length int64 // of the request's body
	chunks chunkScanner

	largeHead atomic.Int64 // taken from the budget of heads
	held      atomic.Int64 // taken from the budget of bodies
	unread    atomic.Bool  // the client may still be sending
	refused   bool
}

// BodyLength is what the head of the request being served says of its body: how
// many bytes it has, or -1 for chunks.
func (c *Conn) BodyLength() int64 { return c.length }

// Read is net.Conn's. It never reads beyond the end of a request.
func (c *Conn) Read(p []byte) (int, error) {
	if c.refused {
		return 0, io.EOF
	}
	if c.part == awaitHead {
		if err := c.gather(); err != nil {
			return 0, err
		}
	}
	switch c.part {
	case body:
		return c.readBody(p)
	case chunkedBody:
		return c.readChunks(p)
	}
	n := copy(p[:min(len(p), int(c.left))], c.buffer[c.start:c.end])
	c.consume(n)
	if c.left -= int64(n); c.left == 0 {
		c.afterHead()
	}
	return n, nil
}

// gather waits for the whole head of the next request.
func (c *Conn) gather() error {
	c.release(&c.held, &c.of.bodies) // the request before is answered
	c.head, c.length = headScanner{}, 0
	if c.start == c.end { // waiting takes no buffer
		if _, err := io.ReadFull(c.tcp, c.first[:]); err != nil {
			return err
		}
		c.small = smallHeads.Get().(*[smallHead]byte)
		c.buffer, c.start, c.end = c.small[:], 0, 1
		c.buffer[0] = c.first[0]
	}
	_ = c.SetReadDeadline(time.Now().Add(c.of.patience))
	for {
		end, done, refused := c.head.scan(c.buffer[c.start:c.end])
		if refused == nil && !done {
			refused = c.makeRoom()
		}
		if refused != nil {
			return c.refuse(refused)
		}
		if done {
			c.part, c.left, c.length = handHead, int64(end), c.head.bodyLength
			return nil
		}
		n, err := c.tcp.Read(c.buffer[c.end:])
		c.end += n
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return c.refuse(refuse(http.StatusRequestTimeout, "the request did not come within %v", c.of.patience))
		case err == io.EOF:
			return c.refuse(malformed("the connection ended within a request"))
		case err != nil:
			return err
		}
	}
}

// makeRoom makes sure that the buffer can take at least a byte.
func (c *Conn) makeRoom() *refusal {
	if c.end < len(c.buffer) {
		return nil
	}
	if c.start > 0 {
		c.end = copy(c.buffer, c.buffer[c.start:c.end])
		c.start = 0
		return nil
	}
	size := min(freeHead, c.of.maxHead)
	switch {
	case c.end >= c.of.maxHead && !c.head.begun:
		return refuse(http.StatusRequestURITooLong, "the request line is over %d bytes long", c.of.maxHead)
	case c.end >= c.of.maxHead:
		return refuse(http.StatusRequestHeaderFieldsTooLarge, "the request's headers are over %d bytes long", c.of.maxHead)
	case c.end >= freeHead:
		size = c.of.maxHead
		if !c.of.heads.take(int64(size)) {
			return busy("too many requests with over %d bytes of headers come at once; try again", freeHead)
		}
		c.largeHead.Store(int64(size))
	}
	larger := make([]byte, size)
	copy(larger, c.buffer[:c.end])
	c.dropBuffer()
	c.buffer = larger
	return nil
}

func (c *Conn) consume(n int) {
	if c.start += n; c.start == c.end {
		c.dropBuffer()
		c.start, c.end = 0, 0
		c.release(&c.largeHead, &c.of.heads)
	}
}

func (c *Conn) dropBuffer() {
	if c.small != nil {
		smallHeads.Put(c.small)
	}
	c.buffer, c.small = nil, nil
}

func (c *Conn) afterHead() {
	switch c.length {
	case 0:
		c.part = awaitHead
		return
	case chunked:
		c.part, c.chunks = chunkedBody, chunkScanner{}
	default:
		c.part, c.left = body, c.length
	}
	c.unread.Store(true)
}

// beginBody takes what the server is about to hold from the budget: its buffer,
// which has room for the longest head, and the body.
func (c *Conn) beginBody() error {
	if c.held.Load() > 0 {
		return nil
	}
	n := c.bodyBytes() + int64(c.of.maxHead)
	if !c.of.bodies.take(n) {
		return c.refuse(busy("the node receives as many bodies as it has room for; try again"))
	}
	c.held.Store(n)
	return nil
}

// endBody keeps the body counted until the request is answered.
func (c *Conn) endBody() {
	c.part = awaitHead
	c.unread.Store(false)
	if n := c.bodyBytes(); c.held.CompareAndSwap(n+int64(c.of.maxHead), n) {
		c.of.bodies.giveBack(int64(c.of.maxHead))
	}
}

func (c *Conn) bodyBytes() int64 {
	if c.length == chunked {
		return c.of.maxBody
	}
	return min(c.length, c.of.maxBody)
}

func (c *Conn) readBody(p []byte) (n int, err error) {
	if err := c.beginBody(); err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), c.left)]
	if c.start < c.end {
		n = copy(p, c.buffer[c.start:c.end])
		c.consume(n)
	} else if n, err = c.tcp.Read(p); err != nil {
		return n, err
	}
	if c.left -= int64(n); c.left == 0 {
		c.endBody()
	}
	return n, nil
}

// readChunks reads through the buffer: what follows the body is not the server's yet.
func (c *Conn) readChunks(p []byte) (int, error) {
	if err := c.beginBody(); err != nil {
		return 0, err
	}
	if c.start == c.end {
		c.small = smallHeads.Get().(*[smallHead]byte)
		c.buffer = c.small[:]
		n, err := c.tcp.Read(c.buffer)
		if c.end = n; n == 0 {
			c.consume(0)
			return 0, err
		}
	}
	most := c.buffer[c.start:c.end]
	most = most[:min(len(p), len(most))]
	n, done, refused := c.chunks.scan(most)
	if refused != nil {
		return 0, c.refuse(refused)
	}
	copy(p, most[:n])
	c.consume(n)
	if done {
		c.endBody()
	}
	return n, nil
}

// refuse answers, and makes the server believe that the client is gone.
func (c *Conn) refuse(r *refusal) error {
	_ = c.SetWriteDeadline(time.Now().Add(answerTime))
	_, _ = c.tcp.Write(r.answer(time.Now()))
	c.refused = true
	c.unread.Store(true)
	return io.EOF
}

// Write is net.Conn's. It drops what the server still writes after a refusal.
func (c *Conn) Write(p []byte) (int, error) {
	if c.refused {
		return len(p), nil
	}
	return c.tcp.Write(p)
}

// Close is net.Conn's. A client that may still be sending gets to read the answer.
func (c *Conn) Close() error {
	c.release(&c.largeHead, &c.of.heads)
	c.release(&c.held, &c.of.bodies)
	if c.unread.Swap(false) {
		linger(c.tcp)
	}
	return c.tcp.Close()
}

func (c *Conn) release(taken *atomic.Int64, b *budget) {
	if n := taken.Swap(0); n > 0 {
		b.giveBack(n)
	}
}

// Take gives the connection away, with what has come behind the request that
// upgraded it.
func (c *Conn) Take() (*net.TCPConn, []byte) {
	early := bytes.Clone(c.buffer[c.start:c.end])
	c.consume(c.end - c.start)
	c.release(&c.held, &c.of.bodies)
	return c.tcp, early
}
