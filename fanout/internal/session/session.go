// Package session is one connection, from its welcome to its last byte.
//
// It owns the TCP socket itself: fiber and contrib/websocket perform the
// upgrade, and are then let go with all their buffers. Which goroutine does what:
//
//   - Run's goroutine reads (read.go), takes frames apart (websocket.go) and does
//     what they ask (dispatch.go). It holds a buffer only while it has something
//     to read, and it alone ends the session and closes the socket.
//   - Anybody queues frames (queue.go). Who asks for a Flush writes what is
//     queued, in one write(2) that never blocks (write.go).
//   - Only when the socket takes no more does a goroutine stand by for that one
//     connection, until everything is written.
package session

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/publish"
)

// lingering is how long a closed connection may still take to read its close
// frame and answer it, before the socket is closed under it. One that is closed
// for reading slowly has to get through what is in flight first.
const (
	lingering     = 2 * time.Second
	lingeringSlow = 10 * time.Second
)

// Publisher takes the messages of a session: pkg/publish.
type Publisher interface {
	Submit(publish.Message, publish.Completion) *protocol.Error
}

// Options are what all sessions of a node share.
type Options struct {
	Hub       *hub.Hub
	Publisher Publisher
	Members   Members
	Roster    Roster
	// Verify says what a token grants that is to replace a live connection's, which
	// came with this Origin header.
	Verify func(token, origin string) (*auth.Grant, *protocol.CloseError)
	// Directory is the apps document in force.
	Directory func() *apps.Directory
	Log       *slog.Logger
	Now       func() time.Time
}

// Session is one live connection.
type Session struct {
	opt    *Options
	id     uint64
	remote string // the client's address
	sock   *socket
	began  time.Time

	scope scope

	// Tokens of the peer that were issued up to then are revoked; zero: none are.
	revokedUntil time.Time

	// Owned by Run's goroutine.
	in       reader
	rate     *rate.Limiter
	received uint64 // frames

	heard atomic.Int64 // when bytes last came, unix seconds

	out queue
}

// New makes a session of an upgraded connection. early is what the client has
// sent right behind its upgrade request. The welcome is queued here, so that
// nothing can overtake it.
func New(opt *Options, id uint64, grant *auth.Grant, conn *net.TCPConn, remote string, early []byte) (*Session, error) {
	sock, err := newSocket(conn)
	if err != nil {
		return nil, err
	}
	limits := grant.App.Limits
	s := &Session{
		opt: opt, id: id, remote: remote, sock: sock, began: opt.Now(),
		rate: rate.NewLimiter(rate.Limit(limits.ConnectionMessagesPerSec), limits.ConnectionMessagesBurst),
	}
	s.scope.grant.Store(grant)
	s.in.early = early
	s.out.flushing = true // nothing is written before Run
	s.heard.Store(s.began.Unix())
	s.send(func(dst []byte) []byte {
		w := protocol.Welcome{
			PeerID: grant.Peer, ServerTime: s.began.Unix(),
			MaxMessageSize: protocol.MaxFrameBytes, Metadata: grant.Metadata,
		}
		if !grant.ExpiresAt.IsZero() {
			w.ExpiresAt = grant.ExpiresAt.Unix()
		}
		return protocol.AppendWelcome(dst, w)
	})
	return s, nil
}

// ID is unique in this process, and never 0.
func (s *Session) ID() uint64 { return s.id }

// Register makes the connection known as its peer's, so that direct messages and
// orders to close it arrive, from when done is called with nil on. An error, or
// one given to done, means that Redis does not answer. It comes before Run.
func (s *Session) Register(done func(error)) error {
	g := s.Grant()
	return s.opt.Hub.AddPeer(s, g.App.ID, g.Peer, done)
}

// RevokedUntil tells the session up to when tokens of its peer are revoked, for
// refreshes. It comes before Run.
func (s *Session) RevokedUntil(at time.Time) { s.revokedUntil = at }

// Ended is how a session ended, for its log line and the metrics.
type Ended struct {
	// By is "server", "peer" (it sent a close frame) or "network" (it vanished).
	By     string
	Code   protocol.CloseCode // 0 with "network"
	Reason string
}

// Run serves the connection, from its welcome on, until it has ended. The socket
// is closed when it returns; left is called before that, as soon as the session
// takes part in nothing any more.
func (s *Session) Run(left func()) Ended {
	s.scope.mu.Lock()
	s.awaitExpiry(s.Grant())
	s.scope.mu.Unlock()
	s.Flush() // the welcome

	ended := s.serve()
	s.leave()
	left()
	s.finish(ended)
	grant := s.Grant()
	s.opt.Log.LogAttrs(context.Background(), slog.LevelInfo, "connection ended",
		slog.String("app", grant.App.ID), slog.String("peer", grant.Peer), slog.String("key", grant.Key.ID),
		slog.Uint64("connection", s.id), slog.String("address", s.remote),
		slog.String("by", ended.By), slog.Int("code", int(ended.Code)), slog.String("reason", ended.Reason),
		slog.Duration("lasted", s.opt.Now().Sub(s.began)), slog.Uint64("frames", s.received))
	return ended
}

// serve reads until the connection ends, whoever ends it.
func (s *Session) serve() (ended Ended) {
	defer func() {
		if p := recover(); p != nil {
			s.opt.Log.Error("a session panicked", "connection", s.id, "panic", p, "stack", string(debug.Stack()))
			s.Close(&protocol.CloseError{Code: protocol.CloseInternalError, Reason: protocol.CloseInternalError.Reason()})
			ended = s.endedBy(nil)
		}
	}()
	return s.endedBy(s.read())
}

// endedBy finds out who ended the session: the first close wins.
func (s *Session) endedBy(err error) Ended {
	if c := s.out.closeSent(); c != nil {
		return Ended{By: "server", Code: c.Code, Reason: cmp.Or(c.Reason, c.Code.Reason())}
	}
	if peer, ok := err.(*peerClosed); ok {
		return Ended{By: "peer", Code: protocol.CloseCode(peer.code), Reason: peer.reason}
	}
	reason := "connection lost"
	if err != nil {
		reason = networkReason(err)
	}
	return Ended{By: "network", Reason: reason}
}

// finish performs the closing handshake (RFC 6455 §7.1) and closes the socket.
func (s *Session) finish(ended Ended) {
	patience := lingering
	if ended.Code == protocol.ClosePolicy {
		patience = lingeringSlow
	}
	switch ended.By {
	case "peer":
		s.Close(&protocol.CloseError{Code: ended.Code}) // the answer has the same code
		_ = s.sock.conn.SetDeadline(time.Now().Add(patience))
	case "server":
		_ = s.sock.conn.SetDeadline(time.Now().Add(patience))
		s.awaitPeerClose()
	}
	s.Flush() // whoever queued the last frames may not have come to it yet
	if drained := s.out.drained(); drained != nil {
		if ended.By == "network" {
			_ = s.sock.conn.Close() // nobody is there to drain to
		}
		<-drained
	}
	s.in.release()
	_ = s.sock.conn.Close()
}
