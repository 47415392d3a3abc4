package session

import (
	"bytes"
	"sync/atomic"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/registry"
)

// Will is what is published when the peer is gone (pkg/registry); only setting it changes it.
func (s *Session) Will() *atomic.Pointer[registry.Will] { return &s.will }

// handleWill sets the will or takes it back (protocol §4.7). It answers when Redis has
// recorded that.
func (s *Session) handleWill(f *protocol.ClientFrame) *protocol.Error {
	c := &s.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return nil
	}
	g := s.Grant()
	var w *registry.Will
	if f.Data != nil { // else it is taken back
		if refused := g.Check(apps.ActionPublish, f.Channel); refused != nil {
			return refused
		}
		w = registry.NewWill(g, f.Channel, bytes.Clone(f.Data), time.Duration(f.DelayMs)*time.Millisecond)
	}
	requestID := f.RequestID
	return s.setWill(g, w, func(err *protocol.Error) {
		if err != nil {
			s.fail(requestID, err)
		} else {
			s.ack(requestID)
		}
		s.Flush()
	})
}

// setWill is called with the scope locked, so that no end comes before it.
func (s *Session) setWill(g *auth.Grant, w *registry.Will, done func(*protocol.Error)) *protocol.Error {
	return s.opt.SetWill(registry.SetWill{App: g.App, Peer: g.Peer, Connection: s.ID(), Will: w, Current: &s.will, Done: done})
}

// renewWill brings the will under another credential, with the scope locked. If that does not
// cover the will, the session takes it back, and the peer gets an error.
func (s *Session) renewWill(g *auth.Grant) {
	old := s.will.Load()
	if old == nil {
		return
	}
	w := registry.NewWill(g, old.Channel, old.Data, old.Delay)
	if refused := g.Check(apps.ActionPublish, old.Channel); refused != nil {
		w = nil
		s.fail("", protocol.Errorf(refused.Code, "the will on %q is taken back: %s", old.Channel, refused.Message))
	}
	if refused := s.setWill(g, w, nil); refused != nil {
		s.fail("", refused)
	}
}
