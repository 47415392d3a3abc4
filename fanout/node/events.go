package node

import (
	"cmp"
	"context"
	"math/rand/v2"

	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/eventstream"
	"fleetwire/fanout/internal/session"
	"fleetwire/pkg/events"
	"fleetwire/pkg/orders"
	"fleetwire/pkg/redisconn"
)

// newEvents makes what tells those who watch what happens here.
func (n *Node) newEvents() {
	n.teller = eventstream.NewTeller(eventstream.Options{
		Keys: n.opt.Keys, Node: n.id, Process: rand.Uint64(), Now: n.opt.Now, Log: n.opt.Log,
		Publish: func(ctx context.Context, topic string, payload []byte) error {
			return redisconn.Publish(ctx, n.opt.Redis, topic, payload)
		},
	})
}

// Streams are streams of events that this node serves, for a control plane in the same process.
func (n *Node) Streams(sender *orders.Sender) *eventstream.Streams {
	s := eventstream.NewStreams(eventstream.StreamsOptions{Hub: n.hub, Apps: n.opt.Apps, Order: sender.Watch, Now: n.opt.Now, Log: n.opt.Log})
	n.OnEnd(s.Drain, func() {})
	return s
}

// tellConnect, tellClose and tellRefusal tell of connections.
func (n *Node) tellConnect(s *session.Session) {
	if !n.teller.Watched() {
		return
	}
	g := s.Grant()
	n.teller.Tell(g.App.ID, g.Peer, events.Connect, func() events.Event {
		client := s.Client()
		return events.Event{Connection: n.teller.Connection(s.ID()), Address: client.Address, UserAgent: client.Agent()}
	})
}

func (n *Node) tellClose(s *session.Session, how conn.Ended) {
	if !n.teller.Watched() {
		return
	}
	g := s.Grant()
	n.teller.Tell(g.App.ID, g.Peer, events.Close, func() events.Event {
		return events.Event{Connection: n.teller.Connection(s.ID()), By: how.By, Code: int(how.Code), Reason: cmp.Or(how.Reason, how.Code.Reason())}
	})
}

func (n *Node) tellRefusal(app, peer, key string, code int, reason string) {
	n.teller.Tell(app, peer, events.Refusal, func() events.Event {
		return events.Event{Key: key, Code: code, Reason: reason}
	})
}
