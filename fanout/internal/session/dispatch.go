package session

import (
	"errors"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/broker"
	"fleetwire/pkg/channel"
	"fleetwire/pkg/protocol"
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
		err = s.handleSubscribe(&f)
	case protocol.TypeUnsubscribe:
		err = s.handleUnsubscribe(&f)
	case protocol.TypePublish:
		err = s.handlePublish(&f)
	case protocol.TypeSend:
		err = s.handleSend(&f)
	case protocol.TypeRefresh:
		s.handleRefresh(&f)
	case protocol.TypePing:
		s.send(func(dst []byte) []byte { return append(dst, protocol.Pong...) })
	}
	if err != nil {
		s.fail(f.RequestID, err)
	}
}

// handleSubscribe acks when the subscription is live in Redis, so that what is
// published after the ack is delivered, and the peer is listed there.
func (s *Session) handleSubscribe(f *protocol.ClientFrame) *protocol.Error {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	grant := s.Grant()
	pattern, err := checkSubscribe(grant, f.Channel)
	if err != nil {
		return err
	}
	already := c.subscriptions.has(f.Channel)
	if !already && len(c.subscriptions) >= protocol.MaxSubscriptions {
		return protocol.Errorf(protocol.ChannelLimitExceeded, "a connection can have %d subscriptions; unsubscribe from one first", protocol.MaxSubscriptions)
	}
	refused := s.subscribe(f, grant, pattern, already)
	if refused != nil {
		return notSubscribed(refused, "Redis does not answer")
	}
	c.subscriptions.put(f.Channel, pattern)
	return nil
}

// notSubscribed is the answer to a subscribe that failed with err. otherwise says
// what happened unless err does.
func notSubscribed(err error, otherwise string) *protocol.Error {
	var refused *broker.RefusedError
	if errors.As(err, &refused) {
		return protocol.Errorf(protocol.BackendError, "%v; not subscribed", refused)
	}
	return protocol.Errorf(protocol.BackendError, "%s; not subscribed, try again", otherwise)
}

// checkSubscribe returns the compiled pattern of a wildcard subscription, nil for
// a channel.
func checkSubscribe(g *auth.Grant, name string) (*channel.Pattern, *protocol.Error) {
	if channel.IsPattern(name) {
		return g.CheckPattern(apps.ActionSubscribe, name)
	}
	return nil, g.Check(apps.ActionSubscribe, name)
}

func (s *Session) handleUnsubscribe(f *protocol.ClientFrame) *protocol.Error {
	var invalid error
	if channel.IsPattern(f.Channel) {
		_, invalid = channel.Compile(f.Channel)
	} else {
		invalid = channel.ValidateName(f.Channel)
	}
	if invalid != nil {
		return protocol.Errorf(protocol.InvalidChannel, "%v", invalid)
	}
	c := &s.scope
	c.mu.Lock()
	if pattern, ok := c.subscriptions.take(f.Channel); ok {
		s.unsubscribe(f.Channel, pattern)
	}
	c.mu.Unlock()
	s.ack(f.RequestID)
	return nil
}

func (s *Session) handlePublish(f *protocol.ClientFrame) *protocol.Error {
	return s.submit(publish.Message{Channel: f.Channel}, f)
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
	m.Data, m.Connection = f.Data, s.id
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
		(*Session)(u).fail("", r.Err)
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
	if r.Err != nil {
		p.session.fail(p.requestID, r.Err)
	} else {
		p.session.ack(p.requestID)
	}
}

func (p *published) Flush() { p.session.Flush() }

// ack and fail queue an answer; it goes out with the next Flush.
func (s *Session) ack(requestID string) {
	if requestID != "" {
		s.send(func(dst []byte) []byte { return protocol.AppendAck(dst, requestID) })
	}
}

func (s *Session) fail(requestID string, err *protocol.Error) {
	s.send(func(dst []byte) []byte { return protocol.AppendError(dst, requestID, err) })
}
