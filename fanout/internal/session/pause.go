package session

// pause has the connection's further frames wait, in order, until resume. It is called
// where a frame is handled. What a frame asks may take longer than a loop should: then
// another goroutine does it, and resumes. Answers stay in the order of the frames.
func (s *Session) pause() { s.paused = true }

// resume undoes pause. Any goroutine may call it, once for each pause.
func (s *Session) resume() {
	s.out.mu.Lock()
	s.out.resumed = true
	s.sock.wake(s)
	s.out.mu.Unlock()
}

// stopWhilePaused stops reading after a turn in which a frame called pause.
func (s *Session) stopWhilePaused() {
	s.out.mu.Lock()
	s.sock.pauseReading()
	s.out.mu.Unlock()
}

// goOn begins reading again if resume has been called, or if there is nothing to wait
// for any more: the session ends.
func (s *Session) goOn(ending bool) {
	if !s.paused {
		return
	}
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.out.resumed || ending {
		s.paused, s.out.resumed = false, false
		s.impatient = true
		s.sock.continueReading()
	}
}
