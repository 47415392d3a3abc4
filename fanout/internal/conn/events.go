package conn

import (
	"errors"
	"runtime/debug"

	"fleetwire/clients/go/protocol"
)

var (
	// errNothing: there is nothing to read for now.
	errNothing = errors.New("nothing to read")
	errClosed  = errors.New("closed by this side")
	errBroken  = errors.New("the socket took nothing any more")
)

// handleEvents does what there is to do for the connection now. Only its loop calls it.
func (c *Conn) handleEvents(readable, writable bool) {
	defer c.Recovered()
	if c.isClosed() {
		return
	}
	if writable {
		c.continueWriting()
	}
	switch {
	case c.end == nil:
		err := c.serve(readable)
		if err == nil {
			return
		}
		c.beginEnding(err)
	case readable && !c.end.readDone:
		c.awaitPeerClose()
	}
	c.finish()
}

// Recovered confines a panic to the connection that it comes from.
func (c *Conn) Recovered() {
	if p := recover(); p != nil {
		c.opt.Log.Error("a connection panicked", "connection", c.id, "panic", p, "stack", string(debug.Stack()))
		c.Close(&protocol.CloseError{Code: protocol.CloseInternalError, Reason: protocol.CloseInternalError.Reason()})
		c.wake()
	}
}

// wake has the loop handle the connection's events.
func (c *Conn) wake() {
	c.out.mu.Lock()
	c.sock.wake(c)
	c.out.mu.Unlock()
}

// serve does what the peer has asked; an error says that the connection is over.
func (c *Conn) serve(readable bool) error {
	err := c.out.over()
	c.unpause(err != nil)
	if err == nil && !c.paused && (readable || c.buffered) {
		if err = c.read(); err == nil {
			err = c.out.over()
		}
	}
	return err
}
