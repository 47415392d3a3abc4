package session

import (
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/publish"
)

// dispatch does what a client frame asks (protocol §4.2). The checks come in the
// order of protocol §4.4: shape → name → reserved → action → authorization → quota.
func (s *Session) dispatch(message []byte) {
	var f protocol.ClientFrame
	if err := protocol.Decode(message, &f); err != nil {
		s.fail(f.RequestID, err)
		return
	}
	var err *protocol.Error
	switch f.Type {
	case protocol.TypeSubscribe:
		if f.Group != "" {
			s.handleGroupSubscribe(&f)
		} else {
			err = s.handleSubscribe(&f)
		}
	case protocol.TypeUnsubscribe:
		if f.Group != "" {
			s.handleGroupUnsubscribe(&f)
		} else {
			err = s.handleUnsubscribe(&f)
		}
	case protocol.TypeGroupAck:
		s.handleGroupAck(&f)
	case protocol.TypePublish:
		err = s.handlePublish(&f)
	case protocol.TypeSend:
		err = s.handleSend(&f)
	case protocol.TypeRefresh:
		s.handleRefresh(&f)
	case protocol.TypeAnswer:
		s.handleAnswer(&f)
	case protocol.TypeWill:
		err = s.handleWill(&f)
	case protocol.TypePing:
		s.Send(func(dst []byte) []byte { return append(dst, protocol.Pong...) })
	}
	if err != nil {
		s.fail(f.RequestID, err)
	}
}

func (s *Session) handlePublish(f *protocol.ClientFrame) *protocol.Error {
	return s.submit(publish.Message{Channel: f.Channel, IdempotencyKey: f.IdempotencyKey, IfOffset: f.IfOffset, IfEpoch: f.IfEpoch}, f)
}

func (s *Session) handleSend(f *protocol.ClientFrame) *protocol.Error {
	if f.To == "" {
		return protocol.Errorf(protocol.InvalidPeerID, "to is empty; it must be a peer id, 1–%d printable ASCII characters", protocol.MaxPeerIDBytes)
	}
	return s.submit(publish.Message{To: f.To}, f)
}

func (s *Session) submit(m publish.Message, f *protocol.ClientFrame) *protocol.Error {
	grant := s.Grant()
	m.Grant, m.From, m.FromMetadata = grant, grant.Peer, grant.PeerMetadata
	m.Data, m.Connection, m.Sender = f.Data, s.ID(), s
	if f.RequestID == "" { // as telemetry mostly comes: there is nothing to keep
		return s.opt.Publisher.Submit(m, (*unanswered)(s))
	}
	return s.opt.Publisher.Submit(m, &published{s, f.RequestID})
}

// unanswered is a session that did not ask what becomes of its publish. It hears
// of errors all the same.
type unanswered Session

func (u *unanswered) Published(r publish.Result) {
	if r.Err != nil {
		(*Session)(u).notPublished("", r)
		(*Session)(u).Flush()
	}
}

func (*unanswered) Flush() {}

// published answers a publish once Redis has. It runs on the publisher's goroutine.
type published struct {
	session   *Session
	requestID string
}

func (p *published) Published(r publish.Result) {
	switch {
	case r.Err != nil:
		p.session.notPublished(p.requestID, r)
	case r.Position != nil:
		p.session.Send(func(dst []byte) []byte { return protocol.AppendAckAt(dst, p.requestID, *r.Position) })
	default:
		p.session.ack(p.requestID)
	}
}

func (p *published) Flush() { p.session.Flush() }

// notPublished tells why a message was refused. With an offset_mismatch comes the position
// that the channel has instead.
func (s *Session) notPublished(requestID string, r publish.Result) {
	if r.Err.Code == protocol.OffsetMismatch && r.Position != nil {
		s.tellError(r.Err)
		s.Send(func(dst []byte) []byte { return protocol.AppendErrorAt(dst, requestID, r.Err, *r.Position) })
		return
	}
	s.fail(requestID, r.Err)
}

// ack and fail queue an answer; it goes out with the next Flush.
func (s *Session) ack(requestID string) {
	if requestID != "" {
		s.Send(func(dst []byte) []byte { return protocol.AppendAck(dst, requestID) })
	}
}

func (s *Session) fail(requestID string, err *protocol.Error) {
	s.tellError(err)
	s.Send(func(dst []byte) []byte { return protocol.AppendError(dst, requestID, err) })
}
