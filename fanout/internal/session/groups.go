package session

import (
	"slices"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/ingest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// Groups delivers messages that wait for groups to connections: ingest.Ingesters.
type Groups interface {
	New(ingest.Connection) *ingest.Ingester
}

// ingesting is the session as an ingest.Connection.
type ingesting struct{ *Session }

func (s ingesting) App() *apps.App { return s.Grant().App }

// handleGroupSubscribe answers when it is known whether the grant covers the group, which may
// take longer than a loop should (protocol §10.2). The connection's further frames wait.
func (s *Session) handleGroupSubscribe(f *protocol.ClientFrame) {
	name, requestID, maxInFlight, metadata := f.Group, f.RequestID, f.MaxInFlight, f.IncludeSenderMetadata
	s.Pause()
	go func() {
		defer s.Resume()
		s.offLoop(func() {
			grant := s.Grant()
			if refused := coversGroup(grant, name); refused != nil {
				s.fail(requestID, refused)
			} else if i := s.ingester(); i != nil {
				s.ack(requestID)
				i.Subscribe(name, maxInFlight, metadata)
			}
			s.Flush()
			if s.Grant() != grant {
				s.regroup()
			}
		})
	}()
}

// ingester is the connection with its subscriptions to groups; nil: it has ended.
func (s *Session) ingester() *ingest.Ingester {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return nil
	}
	i := c.ingester.Load()
	if i == nil {
		i = s.opt.Groups.New(ingesting{s})
		c.ingester.Store(i)
	}
	return i
}

// coversGroup says whether a grant covers all channels of a group of its app, which ingesters may
// take part in.
func coversGroup(g *auth.Grant, name string) *protocol.Error {
	group := g.App.Group(name)
	if group == nil {
		return protocol.Errorf(protocol.GroupNotFound, "there is no group %q in the app's configuration", name)
	}
	effort := channel.MaxEffort
	for _, p := range group.Patterns {
		switch {
		case g.Still(apps.ActionSubscribe, p.String(), p, &effort):
		case effort.IsExhausted():
			return protocol.Errorf(protocol.ChannelNotAuthorized, "the patterns of group %q take too long to check against the credential; claim fewer patterns, or fewer wildcards in each", name)
		default:
			return protocol.Errorf(protocol.ChannelNotAuthorized, "group %q has the pattern %.100q; the credential must have subscribe on it", name, p)
		}
	}
	if group.Sink != nil {
		return protocol.Errorf(protocol.MalformedMessage, "group %q has a sink, which takes all its messages; to subscribe to them too, add a group without a sink that has the same patterns", name)
	}
	return nil
}

// handleGroupUnsubscribe is answered when no message follows; and also if the peer was not
// subscribed.
func (s *Session) handleGroupUnsubscribe(f *protocol.ClientFrame) {
	requestID := f.RequestID
	i := s.scope.ingester.Load()
	if i == nil || !i.Unsubscribe(f.Group, func() { s.ack(requestID); s.Flush() }) {
		s.ack(requestID)
	}
}

// handleGroupAck is answered when Redis has taken it.
func (s *Session) handleGroupAck(f *protocol.ClientFrame) {
	requestID := f.RequestID
	i := s.scope.ingester.Load()
	if i == nil { // it was sent no message
		lost := slices.Clone(f.AckIDs)
		for _, n := range f.Nack {
			lost = append(lost, n.AckID)
		}
		s.groupAcked(requestID, lost)
		return
	}
	i.Acknowledge(f.AckIDs, f.Nack, func(lost []string, err error) {
		if err != nil {
			s.fail(requestID, protocol.Errorf(protocol.BackendError, "Redis did not answer; some of the messages may be acknowledged; try again, which does no harm"))
		} else {
			s.groupAcked(requestID, lost)
		}
		s.Flush()
	})
}

func (s *Session) groupAcked(requestID string, lost []string) {
	if requestID != "" {
		s.Send(func(dst []byte) []byte { return protocol.AppendGroupAck(dst, requestID, lost) })
	}
}

// regroup ends the subscriptions to groups that the connection's credential does not cover any
// more, and tells the peer so. It may take longer than a loop should.
func (s *Session) regroup() {
	i := s.scope.ingester.Load()
	if i == nil {
		return
	}
	i.DocumentChanged()
	grant := s.Grant()
	for _, name := range i.Groups() {
		refused := coversGroup(grant, name)
		if refused == nil {
			continue
		}
		shown := protocol.Errorf(refused.Code, "unsubscribed from the group: %s", refused.Message)
		i.Unsubscribe(name, func() {
			s.Send(func(dst []byte) []byte { return protocol.AppendGroupError(dst, shown, name) })
			s.Flush()
		})
	}
}
