//go:build !linux || goroutines

package conn

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// Loops serve connections where there is no epoll: each has a goroutine as its loop. The build tag "goroutines" has Linux do the same.
type Loops struct{}

// NewLoops never fails here.
func NewLoops() (*Loops, error) { return &Loops{}, nil }

// Run waits for ctx to end.
func (*Loops) Run(ctx context.Context) { <-ctx.Done() }

// socket is a TCP connection with a goroutine that waits for it to be readable
// and serves the connection.
type socket struct {
	conn *net.TCPConn
	waiting

	// Bytes that await has read, owned by the goroutine.
	has bool
	n   int
	err error

	wakes chan struct{} // not nil: nothing is read, and wake sends here
}

func (k *socket) open(_ *Loops, conn *net.TCPConn) error {
	k.conn = conn
	return k.waiting.open(k)
}

func (k *socket) start(c *Conn) {
	go func() {
		if c.buffered {
			c.handleEvents(true, false)
		}
		for !c.isClosed() {
			readable := k.await(&c.in)
			c.handleEvents(readable, false)
		}
	}()
}

// await waits for something to read, or for a wake.
func (k *socket) await(r *reader) (readable bool) {
	if k.wakes != nil {
		<-k.wakes
		return false
	}
	n, err := k.readWhenThereIs(r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = k.conn.SetReadDeadline(time.Time{})
		return false
	}
	k.has, k.n, k.err = true, n, err
	return true
}

// read hands over what await has read.
func (k *socket) read(*reader) (int, error) {
	if !k.has {
		return 0, errNothing
	}
	k.has = false
	return k.n, k.err
}

func (k *socket) stopReading() {
	if k.wakes == nil {
		k.wakes = make(chan struct{}, 1)
	}
}

func (k *socket) pauseReading()    { k.stopReading() }
func (k *socket) continueReading() { k.wakes = nil }

func (k *socket) wake(*Conn) {
	if k.wakes == nil {
		_ = k.conn.SetReadDeadline(time.Unix(1, 0))
		return
	}
	select {
	case k.wakes <- struct{}{}:
	default:
	}
}

func (k *socket) close() { _ = k.conn.Close() }

// awaitWritable leaves the queue to a goroutine that waits for the peer, until
// everything is written. It ends with the socket at the latest.
func (k *socket) awaitWritable(c *Conn) { go c.drain() }

func (c *Conn) drain() {
	q := &c.out
	for {
		q.mu.Lock()
		var chunk net.Buffers
		size := 0
		for len(q.frames) > 0 && size+len(q.frames[0]) <= maxWrite {
			chunk = append(chunk, q.frames[0])
			size += len(q.frames[0])
			q.drop(1)
		}
		if size == 0 && len(q.frames) > 0 { // one frame, of which a part is enough to see it go
			chunk, size = append(chunk, q.frames[0][:maxWrite]), maxWrite
			q.skip(maxWrite)
		}
		if size == 0 {
			if frame := c.nextPerishable(); frame != nil {
				chunk, size = append(chunk, frame), len(frame)
			}
		}
		if size == 0 {
			q.draining, q.progress = false, 0
			c.sock.wake(c) // it may be waiting for this to end
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()

		_, err := chunk.WriteTo(c.sock.conn)

		q.mu.Lock()
		q.bytes -= size
		q.progress = c.opt.Ticks()
		if err != nil {
			q.draining = false
			c.abort()
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
	}
}

// nextPerishable takes the first frame of the portions, and counts it as queued. It is
// called with the queue locked.
func (c *Conn) nextPerishable() []byte {
	q := &c.out
	for q.portions != nil {
		p := q.portions
		p.dropVoid(c.opt.Ticks())
		var frame []byte
		if len(p.Frames) > 0 {
			frame = p.Frames[0].Frame
			p.drop(1)
		}
		if len(p.Frames) == 0 {
			q.portions = p.next
			p.written(true)
		}
		if frame != nil {
			q.bytes += len(frame)
			return frame
		}
	}
	return nil
}

// continueWriting has nothing to do: drain does it.
func (c *Conn) continueWriting() {}
