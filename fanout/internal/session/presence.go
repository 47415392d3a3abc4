package session

import (
	"bytes"
	"sync/atomic"

	"fleetwire/fanout/internal/watchers"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/channel"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/protocol"
)

// Members tells Redis which peers are in which channels: members.Tracker.
type Members interface {
	Join(app, channelName, peer string, connection uint64, metadata []byte, done func(presence.Version, error)) error
	Leave(app, channelName, peer string, connection uint64)
}

// Watchers shows connections who is in their channels: watchers.Watchers.
type Watchers interface {
	Watch(w watchers.Watcher, app, channelName string) (promised bool)
	Ready(w watchers.Watcher, app, channelName string, since presence.Version)
	Unwatch(w watchers.Watcher, app, channelName string) (promised bool)
	WatchPattern(w watchers.Watcher, app string, p *channel.Pattern, done func(error)) error
	UnwatchPattern(w watchers.Watcher, app string, p *channel.Pattern)
}

// subscribing is a subscribe that Redis has yet to confirm: that messages come
// in, that the peer is listed or, for a pattern, that announcements come in.
type subscribing struct {
	session   *Session
	requestID string
	name      string
	pattern   *channel.Pattern
	since     presence.Version // at which the peer is listed
	missing   atomic.Int32     // confirmations
	failed    atomic.Pointer[error]
}

// subscribe subscribes with everything that belongs to it, and answers when all
// of that is confirmed. An error means that nothing has changed, and no answer
// follows. It is called with the scope locked.
func (s *Session) subscribe(f *protocol.ClientFrame, g *auth.Grant, pattern *channel.Pattern, already bool) error {
	w := &subscribing{session: s, requestID: f.RequestID, name: f.Channel, pattern: pattern}
	watches := g.Can(apps.ActionPresence)
	app := g.App.ID
	if pattern == nil {
		// Watching comes first: the confirmations may be there before Join and
		// Subscribe return, and so may a message from a peer that has seen this one.
		if watches {
			s.watch(app, f.Channel)
		}
		w.missing.Store(2)
		err := s.opt.Members.Join(app, f.Channel, g.Peer, s.id, g.PeerMetadata, w.listed)
		if err == nil {
			err = s.opt.Hub.Subscribe(s, app, f.Channel, f.IncludeSenderMetadata, w.confirm)
			if err != nil && !already {
				s.opt.Members.Leave(app, f.Channel, g.Peer, s.id)
			}
		}
		if err != nil && watches && !already {
			s.unwatch(g, f.Channel, nil)
		}
		return err
	}
	w.missing.Store(1)
	if watches {
		w.missing.Store(2)
		if err := s.opt.Watchers.WatchPattern(s, app, pattern, w.confirm); err != nil {
			return err
		}
	}
	if err := s.opt.Hub.SubscribePattern(s, app, pattern, f.IncludeSenderMetadata, w.confirm); err != nil {
		if watches && !already {
			s.opt.Watchers.UnwatchPattern(s, app, pattern)
		}
		return err
	}
	return nil
}

// listed is told when the peer is listed, on the tracker's goroutine.
func (w *subscribing) listed(since presence.Version, err error) {
	w.since = since
	w.confirm(err)
}

// confirm takes one confirmation, or that there is none, on the broker's or the
// tracker's goroutine. With the last the subscribe is answered. The snapshot of
// who is there comes after the ack.
func (w *subscribing) confirm(err error) {
	if err != nil {
		w.failed.Store(&err)
	}
	if w.missing.Add(-1) > 0 {
		return
	}
	s := w.session
	if failed := w.failed.Load(); failed != nil {
		s.scope.mu.Lock()
		s.scope.subscriptions.take(w.name)
		s.unsubscribe(w.name, w.pattern)
		s.scope.mu.Unlock()
		s.fail(w.requestID, notSubscribed(*failed, "the connection to Redis was lost"))
	} else {
		s.ack(w.requestID)
		if w.pattern == nil {
			s.opt.Watchers.Ready(s, s.Grant().App.ID, w.name, w.since)
		}
	}
	s.Flush()
}

// unsubscribe undoes subscribe.
func (s *Session) unsubscribe(name string, pattern *channel.Pattern) {
	g := s.Grant()
	if pattern != nil {
		s.opt.Hub.UnsubscribePattern(s, g.App.ID, pattern)
	} else {
		s.opt.Hub.Unsubscribe(s, g.App.ID, name)
		s.opt.Members.Leave(g.App.ID, name, g.Peer, s.id)
	}
	s.unwatch(g, name, pattern)
}

func (s *Session) watch(app, name string) {
	s.hold()
	if !s.opt.Watchers.Watch(s, app, name) {
		s.holdNoMore()
	}
}

func (s *Session) unwatch(g *auth.Grant, name string, pattern *channel.Pattern) {
	if pattern != nil {
		s.opt.Watchers.UnwatchPattern(s, g.App.ID, pattern)
	} else if s.opt.Watchers.Unwatch(s, g.App.ID, name) {
		s.holdNoMore()
	}
}

// regrantPresence has a subscription that stays shown what the new grant lets it
// see, and others what it has of the peer.
func (s *Session) regrantPresence(old, g *auth.Grant, name string, pattern *channel.Pattern) {
	did, does := old.Can(apps.ActionPresence), g.Can(apps.ActionPresence)
	switch {
	case did && !does:
		s.unwatch(g, name, pattern)
	case does && !did && pattern != nil:
		// Should Redis be away just now, it takes another subscribe.
		_ = s.opt.Watchers.WatchPattern(s, g.App.ID, pattern, func(error) {})
	case does && !did:
		s.watch(g.App.ID, name)
		s.opt.Watchers.Ready(s, g.App.ID, name, presence.Version{})
	}
	if pattern == nil && !bytes.Equal(old.PeerMetadata, g.PeerMetadata) {
		_ = s.opt.Members.Join(g.App.ID, name, g.Peer, s.id, g.PeerMetadata, func(presence.Version, error) {})
	}
}
