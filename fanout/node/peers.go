package node

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/session"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/group"
	"fleetwire/pkg/history"
	peers "fleetwire/pkg/registry"
)

// newRecorder makes what tells Redis which peers are online here, and the worker that
// sees to deadlines: of peers that are not online any more, of commands, of messages that
// channels remember, and of those that wait for groups.
func (n *Node) newRecorder(process uint64) {
	n.recorder = peers.NewRecorder(peers.RecorderOptions{
		Redis: n.opt.Redis, Keys: n.opt.Keys, Node: n.id, Process: process, Directory: n.opt.Apps.Current, Connections: n.online, Log: n.opt.Log,
		Publisher: n.publisher, WillDue: n.metrics.WillDue,
		// The door is made later.
		Revoked: func(g *auth.Grant, done func(bool, error)) { n.door.Revoked(g, done) },
	})
	handlers := n.recorder.Handlers()
	handlers[deadline.Commands] = n.store.Due
	n.sweeper = history.NewSweeper(history.SweeperOptions{Redis: n.opt.Redis, Keys: n.opt.Keys, Directory: n.opt.Apps.Current, Evicted: n.evicted})
	handlers[deadline.History] = n.sweeper.Due
	handlers[deadline.Groups] = group.NewSweeper(n.GroupOptions(), n.opt.Apps.Current).Due
	n.deadlines = deadline.New(deadline.Options{
		Redis: n.opt.Redis, Keys: n.opt.Keys, Handlers: handlers, Apps: n.appIDs, Log: n.opt.Log,
	})
	n.sessions.added = func(s *session.Session) {
		n.recorder.Connected(connected(s))
		n.tellConnect(s)
	}
}

func (n *Node) evicted(why history.Eviction, messages int) {
	n.metrics.Evicted(string(why), messages)
}

func (n *Node) appIDs() []string {
	var ids []string
	for _, app := range n.opt.Apps.Current().Apps() {
		ids = append(ids, app.ID)
	}
	return ids
}

// online are the connections that the node has.
func (n *Node) online() []peers.Connected {
	all := n.sessions.all()
	connections := make([]peers.Connected, len(all))
	for i, s := range all {
		connections[i] = connected(s)
	}
	return connections
}

func connected(s *session.Session) peers.Connected {
	g := s.Grant()
	return peers.Connected{App: g.App, Peer: g.Peer, Connection: s.ID(), Metadata: g.PeerMetadata, Epoch: s.Epoch(), Will: s.Will()}
}

// changed is called when what others see of a peer has changed.
func (n *Node) changed(s *session.Session) { n.recorder.Connected(connected(s)) }

// disconnected records a connection that has ended.
func (n *Node) disconnected(s *session.Session, how conn.Ended) {
	g := s.Grant()
	d := peers.Disconnected{App: g.App, Peer: g.Peer, Connection: s.ID(), Code: int(how.Code), Will: s.Will().Load() != nil}
	switch {
	case how.By == conn.ByPeer:
		d.Reason = peers.Closed
	case how.By == conn.ByNetwork:
		d.Code, d.Reason = peers.CodeLost, peers.Lost
	default:
		d.Reason = peers.ReasonOf(d.Code)
	}
	n.recorder.Disconnected(d)
}

// show tells of a peer's connections here, as orders ask for it.
func (n *Node) show(app, peer string) []byte {
	connections := []peers.Connection{}
	for _, subscriber := range n.hub.Peer(app, peer) {
		s, ok := subscriber.(interface{ Shown() session.Shown })
		if !ok {
			continue
		}
		shown := s.Shown()
		connections = append(connections, peers.Connection{
			ID: n.id + "-" + strconv.FormatUint(subscriber.ID(), 36), Node: n.id, Protocol: "websocket",
			Address: shown.Client.Address, UserAgent: shown.Client.Agent(),
			ConnectedAt: shown.ConnectedAt.Truncate(time.Millisecond).UnixMilli(), Subscriptions: shown.Subscriptions,
		})
	}
	text, _ := json.Marshal(connections) // never fails: it holds text and numbers
	return text
}

// state is for session.Options.
func (n *Node) state(s *session.Session, peer string) { n.recorder.State(s.Grant().App, peer, s.ID()) }

// resyncSessions has connections sent what they may have missed. It does not block.
func (n *Node) resyncSessions() { n.resync.Set() }

// resyncAll has connections sent what they may have missed after each outage, until
// ctx ends.
func (n *Node) resyncAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.resync:
		}
		for _, s := range n.sessions.all() {
			s.Restored()
		}
	}
}
