// Package conn reads and writes the bytes of a WebSocket connection: the TCP socket, the
// frames that come, and the queue of those that go. A Handler knows what they mean.
//
// fiber and contrib/websocket perform the upgrade, and are then released with all their
// buffers. The goroutines:
//
//   - An event loop (loop_linux.go) serves many connections. When something happens to one,
//     the loop handles it (events.go): it reads what has come (read.go), takes frames apart
//     (websocket.go) and has messages handled, goes on writing, or ends the connection
//     (closing.go). It never blocks. It reads one buffer and stops after half a millisecond,
//     so no peer delays the others. A connection holds a buffer only while it has a part of
//     a frame.
//     Where there is no epoll, each connection has a goroutine as its loop.
//   - A frame that takes longer pauses its connection (pause.go) and is handled on another
//     goroutine.
//   - Any goroutine queues frames (queue.go) and calls Flush, which writes the queue in
//     one write(2) that never blocks (write.go). The loop writes the rest.
//   - Close queues a close frame and wakes the loop. Only the loop ends a connection and
//     closes its socket.
package conn

import (
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"fleetwire/clients/go/protocol"
)

// Options are what all connections of a node share.
type Options struct {
	Loops *Loops
	// Ticks is the time that has passed, which only runs forward.
	Ticks func() time.Duration
	Log   *slog.Logger
	// Tapped has handlers that are Tappers told of frames that are sent, while it is true. nil: they are not.
	Tapped *atomic.Bool
}

// Handler handles what comes over a connection. Only the connection's loop calls it, one
// call at a time. None must block.
type Handler interface {
	// Admit says whether a frame that has come is within the peer's rate, or how to
	// close the connection. now is Options.Ticks.
	Admit(now time.Duration) *protocol.CloseError
	// Message takes a whole message. It must not keep the bytes.
	Message(message []byte)
	// Ending is called when no message will come any more; the closing handshake is
	// yet to be completed.
	Ending(Ended)
	// Closed is called when the socket is closed: that is the end.
	Closed(Ended)
}

// Tapper is a Handler that hears of frames that are queued, or written, for the peer.
type Tapper interface {
	// Sent takes them with their headers. It is called by any goroutine, with the queue locked: it must not
	// block, nor call the Conn, nor keep the bytes.
	Sent(frames []byte)
}

// Conn is a connection. Open makes one of the zero Conn, and Begin or Refuse begin it.
type Conn struct {
	opt     *Options
	handler Handler
	id      uint64

	// Owned by the loop.
	in       reader
	received uint64  // frames
	end      *ending // nil: the connection goes on
	buffered bool    // there are frames in the buffer already
	paused   bool    // frames wait for Resume
	refused  bool    // it only performs the closing handshake

	lastRead atomic.Int32 // when bytes last came (Options.Ticks), seconds

	// Side by side: a delivery needs both, and little else.
	sock socket
	out  queue
}

// Open takes the socket over, unless it returns an error. early is what the peer has
// sent right behind its upgrade request, answer what that is answered with: it goes out
// with the first frame. Nothing is written and nothing ends before Begin or Refuse.
func (c *Conn) Open(opt *Options, id uint64, h Handler, tcp *net.TCPConn, early, answer []byte) error {
	c.opt, c.id, c.handler = opt, id, h
	if err := c.sock.open(opt.Loops, tcp); err != nil {
		return err
	}
	c.takeEarly(early)
	c.out.begin(answer)
	c.lastRead.Store(int32(opt.Ticks() / time.Second))
	return nil
}

// Begin writes what is queued, and has a loop serve the connection.
func (c *Conn) Begin() {
	buffered := c.buffered // from start on, that is the loop's
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.started = true
	c.flush()
	if len(c.out.frames) == 0 {
		c.out.frames = nil // most connections never have two to write at once again
	}
	c.sock.start(c)
	if buffered || c.out.closing != nil {
		c.sock.wake(c)
	}
}

// Refuse has the connection begin with a close frame, instead of what was queued.
func (c *Conn) Refuse(why *protocol.CloseError) {
	c.refused = true
	c.out.mu.Lock()
	c.beginClose(why, true)
	c.out.mu.Unlock()
	c.Begin()
}

// Refused says whether the connection was refused.
func (c *Conn) Refused() bool { return c.refused }

// ID is what Open was given.
func (c *Conn) ID() uint64 { return c.id }

// Received is how many frames have come. Only the handler may ask, or anybody after Closed.
func (c *Conn) Received() uint64 { return c.received }
