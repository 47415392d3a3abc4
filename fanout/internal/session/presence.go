package session

import (
	"bytes"

	"fleetwire/clients/go/channel"
	"fleetwire/fanout/internal/watchers"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/presence"
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

// direct is the session as the Subscriber of messages to its peer. They wait for the
// snapshots that the connection is promised (protocol §4.3): a peer that has seen it
// join may send to it at once, and peers drop messages from a peer that they have not
// heard of.
type direct struct{ *Session }

func (d direct) Append(frame []byte, sequence uint64) (queued, flush bool) {
	return d.AppendBehind(&d.Session.direct, frame, sequence)
}

// AppendPresence queues a shared frame (watchers.Watcher).
func (s *Session) AppendPresence(frame []byte) (flush bool) { return s.AppendUncounted(frame) }

// AppendSnapshot queues a shared frame, and then the direct messages that have waited
// for it (watchers.Watcher).
func (s *Session) AppendSnapshot(frame []byte) (flush bool) {
	flush = s.AppendUncounted(frame)
	return s.Release(&s.direct) || flush
}

// watch has direct messages wait for the snapshot, if one is promised.
func (s *Session) watch(app, name string) {
	s.Hold(&s.direct)
	if !s.opt.Watchers.Watch(s, app, name) {
		s.noSnapshot()
	}
}

func (s *Session) unwatch(g *auth.Grant, name string, pattern *channel.Pattern) {
	if pattern != nil {
		s.opt.Watchers.UnwatchPattern(s, g.App.ID, pattern)
	} else if s.opt.Watchers.Unwatch(s, g.App.ID, name) {
		s.noSnapshot()
	}
}

// noSnapshot has direct messages not wait for a snapshot that will not come.
func (s *Session) noSnapshot() {
	if s.Release(&s.direct) {
		s.Flush()
	}
}

// regrantPresence has a subscription that stays shown what the new grant lets it
// see, and others what it has of the peer.
func (s *Session) regrantPresence(old, g *auth.Grant, name string, pattern *channel.Pattern) {
	if channel.NamesConnectivity(name) {
		return
	}
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
		_ = s.opt.Members.Join(g.App.ID, name, g.Peer, s.ID(), g.PeerMetadata, func(presence.Version, error) {})
	}
}
