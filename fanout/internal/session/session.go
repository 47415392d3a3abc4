// Package session serves one connection: its grant, its subscriptions, and what each of its
// messages asks for. dispatch.go has a handler for each kind of message, subscribe.go the
// steps of a subscribe. Package conn reads and writes the bytes.
package session

import (
	"net"
	"sync/atomic"
	"time"
	"unique"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/eventstream"
	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/registry"
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
	Watchers  Watchers
	Commands  Commands
	History   Histories
	Groups    Groups
	// Verify says what a token grants that is to replace a live connection's, which
	// came with this Origin header.
	Verify func(token, origin string) (*auth.Grant, *protocol.CloseError)
	// Revoked finds out whether the token of a grant that is to replace a live
	// connection's was revoked, and tells done from another goroutine. An error is that
	// Redis did not answer.
	Revoked func(g *auth.Grant, done func(revoked bool, err error))
	// Directory is the apps document in force.
	Directory func() *apps.Directory
	// Now is the time of day, which tokens go by. It may be set: what takes time is
	// measured by Ticks.
	Now  func() time.Time
	Conn conn.Options

	// Left is called when a session takes part in nothing any more, but not for
	// refused ones; Ended, when its socket is closed: that is its end. Changed is
	// called when what others see of the peer has changed. None must block.
	Left, Ended func(*Session, conn.Ended)
	Changed     func(*Session)
	// State has the connection sent the state of a peer of its app, if that is known,
	// as a message on the peer's channel of connectivity. It must not block.
	State func(s *Session, peer string)
	// Events tells of frames and errors those who watch. nil: nobody does.
	Events *eventstream.Teller
	// SetWill has Redis told of a connection's will (registry.Recorder).
	SetWill func(registry.SetWill) *protocol.Error
}

// Session is what a live connection's frames mean.
type Session struct {
	conn.Conn
	opt    *Options
	client Client
	began  time.Duration // Ticks
	epoch  atomic.Uint64 // the peer's; 0: not known yet
	will   atomic.Pointer[registry.Will]

	scope  scope
	rate   bucket    // the connection's loop owns it
	direct conn.Hold // direct messages, until the peer has its snapshots
}

// Client is where a connection comes from.
type Client struct {
	Address string
	// UserAgent is the User-Agent header. A fleet has few, so connections share them.
	UserAgent unique.Handle[string]
}

// Client is where the connection comes from.
func (s *Session) Client() Client { return s.client }

// Agent is the User-Agent header, "" if there was none.
func (c Client) Agent() string {
	if c.UserAgent == (unique.Handle[string]{}) {
		return ""
	}
	return c.UserAgent.Value()
}

// New makes a session of an upgraded connection, and takes that over unless it
// returns an error. early is what the client has sent right behind its upgrade
// request, answer what that is answered with: it goes out with the first frame. The
// welcome is queued here, so that nothing can overtake it; nothing is written and
// nothing ends before Start or Refuse.
func New(opt *Options, id uint64, grant *auth.Grant, tcp *net.TCPConn, client Client, early, answer []byte) (*Session, error) {
	now := opt.Now()
	s := &Session{opt: opt, client: client, began: opt.Conn.Ticks()}
	s.scope.grant.Store(grant)
	if err := s.Open(&opt.Conn, id, (*handler)(s), tcp, early, answer); err != nil {
		return nil, err
	}
	s.Send(func(dst []byte) []byte {
		w := protocol.Welcome{
			PeerID: grant.Peer, ServerTime: now.Unix(),
			MaxMessageSize: protocol.MaxFrameBytes, Metadata: grant.Metadata,
		}
		if !grant.ExpiresAt.IsZero() {
			w.ExpiresAt = grant.ExpiresAt.Unix()
		}
		return protocol.AppendWelcome(dst, w)
	})
	return s, nil
}

// Start serves the connection, from its welcome on, until it has ended
// (Options.Ended). It returns at once.
func (s *Session) Start() {
	s.scope.mu.Lock()
	s.awaitExpiry(s.Grant())
	s.scope.mu.Unlock()
	s.Begin()
}

// Register makes the connection known as its peer's, so that direct messages and
// orders to close it arrive, from when done is called with nil on. An error, or
// one given to done, means that Redis does not answer. It comes before Start.
func (s *Session) Register(done func(error)) error {
	g := s.Grant()
	return s.opt.Hub.AddPeer(direct{s}, g.App.ID, g.Peer, done)
}

// GoAway tells the peer that the node will close the connection, and how long
// to wait before it connects again.
func (s *Session) GoAway(retryAfter time.Duration) {
	s.Send(func(dst []byte) []byte { return protocol.AppendGoingAway(dst, retryAfter.Milliseconds()) })
	s.Flush()
}
