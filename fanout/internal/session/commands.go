package session

import (
	"bytes"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/commands"
	"fleetwire/pkg/command"
)

// Commands hands commands to connections, and takes what their peers answer:
// commands.Dispatcher.
type Commands interface {
	Enter(r commands.Receiver, app, channel string, confirms bool, done func())
	Left(connection uint64)
	Answer(a command.Answer, by commands.Answerer)
}

// Peer is whose connection it is (commands.Receiver).
func (s *Session) Peer() string { return s.Grant().Peer }

// Entering says that no subscription of this Subscriber is new (commands.Receiver).
func (s *Session) Entering() bool { return false }

// handleAnswer is answered when Redis has taken it. The command names its peers, so the
// grant is not asked: only the peer that was handed it can answer.
func (s *Session) handleAnswer(f *protocol.ClientFrame) {
	g := s.Grant()
	s.opt.Commands.Answer(command.Answer{
		App: g.App.ID, Peer: g.Peer, ID: f.Command, Status: command.Status(f.Status), Data: bytes.Clone(f.Data),
	}, &answered{s, f.RequestID})
}

// answered tells a peer what became of its answer (commands.Answerer).
type answered struct {
	session   *Session
	requestID string
}

func (a *answered) Answered(err *protocol.Error) {
	if err != nil {
		a.session.fail(a.requestID, err)
	} else {
		a.session.ack(a.requestID)
	}
}

func (a *answered) Flush() { a.session.Flush() }
