package session

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"fleetwire/pkg/protocol"
)

// lingering is how long a closed connection may still take to read its close
// frame and answer it, before the socket is closed under it. One that is closed
// for reading slowly has to get through what is in flight first.
const (
	lingering     = 2 * time.Second
	lingeringSlow = 10 * time.Second
)

// lingeringBytes bounds what is read of a connection in that time, each header and each
// payload counted as stepBytes more. That is room for a frame of many MiB, whose sender
// is to learn why it is refused. One that sends more does not wait for its close frame,
// and reading on would cost the node as much as the network can carry.
const (
	lingeringBytes = 16 << 20
	stepBytes      = 128
)

var (
	// errNothing: there is nothing to read for now.
	errNothing = errors.New("nothing to read")
	errClosed  = errors.New("closed by this side")
	errBroken  = errors.New("the socket took nothing any more")
)

// Ended is how a session ended, for its log line and the metrics.
type Ended struct {
	// By is "server", "peer" (it sent a close frame) or "network" (it vanished).
	By     string
	Code   protocol.CloseCode // 0 with "network"
	Reason string
}

// ending is a session that only performs the closing handshake (RFC 6455 §7.1).
type ending struct {
	Ended
	deaf     bool        // there is nothing to wait for from the peer any more
	dropped  int         // of what the peer has sent since: see lingeringBytes
	late     atomic.Bool // the time for it is over
	deadline *time.Timer
}

// turn does what there is to do for the session now. One goroutine at a time
// calls it.
func (s *Session) turn(readable, writable bool) {
	defer s.recovered()
	if s.over {
		return
	}
	if writable {
		s.continueWriting()
	}
	switch {
	case s.ending == nil:
		err := s.serve(readable)
		if err == nil {
			return
		}
		s.end(err)
	case readable && !s.ending.deaf:
		s.awaitPeerClose()
	}
	s.finish()
}

// recovered keeps a panic to the session that it comes from.
func (s *Session) recovered() {
	if p := recover(); p != nil {
		s.opt.Log.Error("a session panicked", "connection", s.id, "panic", p, "stack", string(debug.Stack()))
		s.Close(&protocol.CloseError{Code: protocol.CloseInternalError, Reason: protocol.CloseInternalError.Reason()})
		s.wake()
	}
}

// wake asks for a turn.
func (s *Session) wake() {
	s.out.mu.Lock()
	s.sock.wake(s)
	s.out.mu.Unlock()
}

// serve does what the peer has asked; an error says that the session is over.
func (s *Session) serve(readable bool) error {
	err := s.out.over()
	s.goOn(err != nil)
	if err == nil && !s.paused && (readable || s.impatient) {
		if err = s.read(); err == nil {
			err = s.out.over()
		}
	}
	return err
}

// end gives up everything that the session takes part in, and begins the closing
// handshake.
func (s *Session) end(err error) {
	e := &ending{Ended: s.endedBy(err)}
	s.ending = e
	patience := lingering
	if e.Code == protocol.ClosePolicy {
		patience = lingeringSlow
	}
	e.late.Store(e.By == "network") // nobody is there to wait for
	e.deadline = time.AfterFunc(patience, func() {
		e.late.Store(true)
		s.wake()
	})
	switch e.By {
	case "peer":
		s.Close(&protocol.CloseError{Code: e.Code}) // the answer has the same code
		s.beDeaf()
	case "network":
		s.beDeaf()
	case "server":
		s.awaitPeerClose() // it may be behind what was read
	}
	if !s.refused {
		s.leave()
		s.opt.Left(s)
	}
	s.Flush() // whoever queued the last frames may not have come to it yet
}

// endedBy finds out who ended the session: the first close wins.
func (s *Session) endedBy(err error) Ended {
	if c := s.out.closeSent(); c != nil {
		return Ended{By: "server", Code: c.Code, Reason: cmp.Or(c.Reason, c.Code.Reason())}
	}
	if peer, ok := err.(*peerClosed); ok {
		return Ended{By: "peer", Code: protocol.CloseCode(peer.code), Reason: peer.reason}
	}
	return Ended{By: "network", Reason: networkReason(err)}
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
// end of the stream, or lingeringBytes.
func (s *Session) awaitPeerClose() {
	err := s.fill()
	for n := 1; n > 0 && !s.in.peerClosing; {
		n = s.in.skip(s.in.bytes())
		s.in.consume(n)
		s.ending.dropped += stepBytes + n
	}
	if s.in.peerClosing || s.ending.dropped > lingeringBytes || err != nil && !errors.Is(err, errNothing) {
		s.beDeaf()
	}
}

// beDeaf ends reading.
func (s *Session) beDeaf() {
	s.ending.deaf = true
	s.out.mu.Lock()
	s.sock.stopReading()
	s.out.mu.Unlock()
}

// finish closes the socket if the closing handshake is complete, or too late.
func (s *Session) finish() {
	e, q := s.ending, &s.out
	q.mu.Lock()
	s.over = e.late.Load() || q.broken || e.deaf && len(q.frames) == 0 && !q.draining
	if s.over {
		q.broken, q.frames = true, nil
		s.sock.close()
	}
	q.mu.Unlock()
	if !s.over {
		return
	}
	e.deadline.Stop()
	s.in.release()
	if !s.refused {
		grant := s.Grant()
		s.opt.Log.LogAttrs(context.Background(), slog.LevelInfo, "connection ended",
			slog.String("app", grant.App.ID), slog.String("peer", grant.Peer), slog.String("key", grant.Key.ID),
			slog.Uint64("connection", s.id), slog.String("address", s.remote),
			slog.String("by", e.By), slog.Int("code", int(e.Code)), slog.String("reason", e.Reason),
			slog.Duration("lasted", s.opt.Ticks()-s.began), slog.Uint64("frames", s.received))
	}
	s.opt.Ended(s, e.Ended)
}
