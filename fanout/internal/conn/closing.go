package conn

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"fleetwire/clients/go/protocol"
)

// closeTimeout is how long a closed connection may take to read its close frame and
// answer it before the node closes the socket. One that is closed for reading slowly
// has to read what is in flight first.
const (
	closeTimeout     = 2 * time.Second
	slowCloseTimeout = 10 * time.Second
)

// closeReadLimit bounds what is read of a connection in that time, each header and each
// payload counted as stepBytes more. That is room for a frame of many MiB, whose sender
// is to learn why it is refused. One that sends more does not wait for its close frame,
// and reading on would cost the node as much as the network can carry.
const (
	closeReadLimit = 16 << 20
	stepBytes      = 128
)

// One of these ended the connection.
const (
	ByServer  = "server"
	ByPeer    = "peer"    // it sent a close frame
	ByNetwork = "network" // it vanished
)

// Ended is how a connection ended, for its log line and the metrics.
type Ended struct {
	By     string             // ByServer, ByPeer or ByNetwork
	Code   protocol.CloseCode // 0 with ByNetwork
	Reason string
}

// ending is a connection that only performs the closing handshake (RFC 6455 §7.1).
type ending struct {
	Ended
	readDone bool        // no more bytes of the peer matter
	dropped  int         // of what the peer has sent since: see closeReadLimit
	skipping int64       // bytes of a frame that are yet to be dropped
	late     atomic.Bool // the time for it is over
	deadline *time.Timer
	over     bool // the socket is closed
}

func (c *Conn) isClosed() bool { return c.end != nil && c.end.over }

// beginEnding begins the closing handshake.
func (c *Conn) beginEnding(err error) {
	e := &ending{Ended: c.endedBy(err)}
	c.end = e
	timeout := closeTimeout
	if e.Code == protocol.ClosePolicy {
		timeout = slowCloseTimeout
	}
	e.late.Store(e.By == ByNetwork) // no peer is there to wait for
	e.deadline = time.AfterFunc(timeout, func() {
		e.late.Store(true)
		c.wake()
	})
	switch e.By {
	case ByPeer:
		c.Close(&protocol.CloseError{Code: e.Code}) // the answer has the same code
		c.stopReading()
	case ByNetwork:
		c.stopReading()
	case ByServer:
		c.awaitPeerClose() // it may be behind what was read
	}
	c.handler.Ending(e.Ended)
	c.Flush() // the caller that queued the last frames may not have flushed yet
}

// endedBy finds out who ended the connection: the first close wins.
func (c *Conn) endedBy(err error) Ended {
	if why := c.out.closeSent(); why != nil {
		return Ended{By: ByServer, Code: why.Code, Reason: cmp.Or(why.Reason, why.Code.Reason())}
	}
	if peer, ok := err.(*peerClosed); ok {
		return Ended{By: ByPeer, Code: protocol.CloseCode(peer.code), Reason: peer.reason}
	}
	return Ended{By: ByNetwork, Reason: networkReason(err)}
}

// networkReason says in a few words how a connection was lost.
func networkReason(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "the peer ended the connection without a close frame"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBroken.Error()
	case errors.Is(err, net.ErrClosed):
		return "socket closed"
	default:
		return err.Error()
	}
}

// awaitPeerClose reads and drops what has come, up to the peer's close frame, the
// end of the stream, or closeReadLimit.
func (c *Conn) awaitPeerClose() {
	err := c.fill()
	for n := 1; n > 0 && !c.in.peerClosing; {
		n = c.skip(c.in.bytes())
		c.in.consume(n)
		c.end.dropped += stepBytes + n
	}
	if c.in.peerClosing || c.end.dropped > closeReadLimit || err != nil && !errors.Is(err, errNothing) {
		c.stopReading()
	}
}

// stopReading ends reading.
func (c *Conn) stopReading() {
	c.end.readDone = true
	c.out.mu.Lock()
	c.sock.stopReading()
	c.out.mu.Unlock()
}

// finish closes the socket if the closing handshake is complete, or too late.
func (c *Conn) finish() {
	e, q := c.end, &c.out
	q.mu.Lock()
	e.over = e.late.Load() || q.broken || e.readDone && len(q.frames) == 0 && !q.draining
	if c.isClosed() {
		q.broken, q.frames = true, nil
		c.dropPortions()
		c.sock.close()
	}
	q.mu.Unlock()
	if !e.over {
		return
	}
	e.deadline.Stop()
	c.in.release()
	c.handler.Closed(e.Ended)
}
