package conn

// Pause has the connection's further frames wait, in order, until Resume. A handler
// calls it when a frame may take longer than a loop should: then another goroutine
// handles the frame, and resumes. Answers stay in the order of the frames.
func (c *Conn) Pause() { c.paused = true }

// Resume undoes Pause. Any goroutine may call it, once for each Pause.
func (c *Conn) Resume() {
	c.out.mu.Lock()
	c.out.resumed = true
	c.sock.wake(c)
	c.out.mu.Unlock()
}

// stopWhilePaused stops reading after a frame called Pause, unless Resume has been called
// already: it has woken the loop.
func (c *Conn) stopWhilePaused() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if !c.out.resumed {
		c.sock.pauseReading()
	}
}

// unpause begins reading again if Resume has been called, or if there is nothing to wait
// for any more: the connection ends.
func (c *Conn) unpause(ending bool) {
	if !c.paused {
		return
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.resumed || ending {
		c.paused, c.out.resumed = false, false
		c.buffered = true
		c.sock.continueReading()
	}
}
