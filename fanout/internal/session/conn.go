package session

import (
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"fleetwire/pkg/protocol"
)

// ConnOptions are what all connections of a node share.
type ConnOptions struct {
	Loops *Loops
	// Ticks is the time that has passed, which only runs forward.
	Ticks func() time.Duration
	Log   *slog.Logger
}

// handler is what a connection's frames mean to the node: its session. Only turns call
// it, so one call at a time. None must block.
type handler interface {
	// admit says whether a frame that has come is within the peer's rate, or how to
	// close the connection. now is ConnOptions.Ticks.
	admit(now time.Duration) *protocol.CloseError
	// dispatch takes a whole message. It must not keep the bytes.
	dispatch(message []byte)
	// ending is called when no message will come any more; the closing handshake is
	// yet to be completed.
	ending()
	// closed is called when the socket is closed: that is the end.
	closed(Ended)
}

// Conn is a connection's bytes: its socket, the frames that come, and the queue of those
// that go. It knows nothing of what they mean.
type Conn struct {
	opt     *ConnOptions
	handler handler
	id      uint64

	// Owned by turns: one at a time has them.
	in        reader
	received  uint64  // frames
	end       *ending // nil: the connection goes on
	impatient bool    // there are frames in the buffer already
	paused    bool    // frames wait for resume
	refused   bool    // it only performs the closing handshake

	heard atomic.Int32 // when bytes last came (ConnOptions.Ticks), seconds

	// Side by side: a delivery needs both, and little else.
	sock socket
	out  queue
}

// open takes the socket over, unless it returns an error. early is what the peer has
// sent right behind its upgrade request, answer what that is answered with: it goes out
// with the first frame. Nothing is written and nothing ends before begin.
func (c *Conn) open(opt *ConnOptions, id uint64, h handler, conn *net.TCPConn, early, answer []byte) error {
	c.opt, c.id, c.handler = opt, id, h
	if err := c.sock.open(opt.Loops, conn); err != nil {
		return err
	}
	c.takeEarly(early)
	c.out.begin(answer)
	c.heard.Store(int32(opt.Ticks() / time.Second))
	return nil
}

// begin writes what is queued, and gives the connection its turns.
func (c *Conn) begin() {
	impatient := c.impatient // from start on, that is for turns
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.started = true
	c.flush()
	if len(c.out.frames) == 0 {
		c.out.frames = nil // most connections never have two to write at once again
	}
	c.sock.start(c)
	if impatient || c.out.closing != nil {
		c.sock.wake(c)
	}
}

// refuse has the connection begin with a close frame, instead of what was queued.
func (c *Conn) refuse(why *protocol.CloseError) {
	c.refused = true
	c.out.mu.Lock()
	c.beginClose(why, true)
	c.out.mu.Unlock()
	c.begin()
}

// ID is unique in this process, and never 0 but for connections that got no session.
func (c *Conn) ID() uint64 { return c.id }
