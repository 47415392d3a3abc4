package node

import (
	"context"
	"sync"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/session"
	"fleetwire/pkg/quota"
)

// keepAliveGroups spreads the pings of all connections evenly over the ping
// interval: each second one group has its turn.
const keepAliveGroups = int(protocol.PingInterval / time.Second)

// registry is the sessions of this node.
type registry struct {
	groups [keepAliveGroups]struct {
		mu       sync.Mutex
		sessions map[uint64]*session.Session
	}

	added func(*session.Session) // is called with each that is added

	mu      sync.Mutex
	ended   bool           // wait has been called
	last    uint64         // connection's number
	running sync.WaitGroup // connections, from Enter to Leave
}

func newRegistry() *registry {
	r := &registry{}
	for i := range r.groups {
		r.groups[i].sessions = map[uint64]*session.Session{}
	}
	return r
}

// Enter is door.Sessions'. It refuses once wait has been called.
func (r *registry) Enter() (id uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return 0, false
	}
	r.running.Add(1)
	r.last++
	return r.last, true
}

// Leave is door.Sessions'.
func (r *registry) Leave() { r.running.Done() }

// Add is door.Sessions'.
func (r *registry) Add(s *session.Session) {
	g := &r.groups[s.ID()%uint64(keepAliveGroups)]
	g.mu.Lock()
	g.sessions[s.ID()] = s
	g.mu.Unlock()
	r.added(s)
}

func (r *registry) remove(s *session.Session) {
	g := &r.groups[s.ID()%uint64(keepAliveGroups)]
	g.mu.Lock()
	delete(g.sessions, s.ID())
	g.mu.Unlock()
}

// all returns the sessions there are now, in no particular order.
func (r *registry) all() []*session.Session {
	var all []*session.Session
	for i := range r.groups {
		all = append(all, r.group(i)...)
	}
	return all
}

func (r *registry) group(i int) []*session.Session {
	g := &r.groups[i]
	g.mu.Lock()
	defer g.mu.Unlock()
	sessions := make([]*session.Session, 0, len(g.sessions))
	for _, s := range g.sessions {
		sessions = append(sessions, s)
	}
	return sessions
}

// keepAlive gives one group a second its turn, until ctx ends.
func (n *Node) keepAlive(ctx context.Context) {
	tick := time.NewTicker(protocol.PingInterval / time.Duration(keepAliveGroups))
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % keepAliveGroups {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := n.sessionOptions.Conn.Ticks()
			for _, s := range n.sessions.group(i) {
				s.KeepAlive(now)
			}
		}
	}
}

// wait returns when no connection is left; none is let in any more.
func (r *registry) wait() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.running.Wait()
}

// left is called when a session takes part in nothing any more.
func (n *Node) left(s *session.Session, how conn.Ended) {
	n.sessions.remove(s)
	n.disconnected(s, how)
	n.tellClose(s, how)
	g := s.Grant()
	n.connections.Release(g.App.ID)
	// The peer may have been disconnected because its tokens were revoked. That this one
	// was there before its iat, only Redis can remember, and it does so when asked.
	if g.IssuedAt.After(n.opt.Now()) {
		n.connections.Acquire(quota.Applicant{Held: true, App: g.App, Peer: g.Peer, IssuedAt: g.IssuedAt, ExpiresAt: g.ExpiresAt, Done: func(error) {}})
	}
}

// ended is called when a connection, refused or not, is closed.
func (n *Node) ended(s *session.Session, how conn.Ended) {
	defer n.sessions.Leave()
	if !s.Refused() {
		n.metrics.Ended(how.By, int(how.Code))
		n.tally.Of(s.Grant().App.ID).Closed(how.By, int(how.Code))
	}
}
