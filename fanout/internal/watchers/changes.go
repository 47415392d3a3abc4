package watchers

import (
	"slices"
	"strings"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/presence"
)

// known is what watchers know of a peer.
type known struct {
	metadata string
	present  bool
}

// change is what became of a peer within a window.
type change struct {
	before, now known
}

// changes are what became of peers within a window, by peer.
type changes map[string]change

// unknownMetadata is that of a peer that got other metadata; it differs from all.
const unknownMetadata = "?"

// note notes what has become of a peer, after what was noted before.
func (all *changes) note(peer string, c change) {
	if *all == nil {
		*all = changes{}
	}
	if noted, ok := (*all)[peer]; ok {
		c.before = noted.before
	}
	(*all)[peer] = c
}

// noteAnnounced notes what became of a peer of which nothing else is known.
func (all *changes) noteAnnounced(a *presence.Change) {
	c := change{now: known{a.Metadata, a.Kind != presence.Left}}
	switch a.Kind {
	case presence.Left:
		c.before = known{a.Metadata, true}
	case presence.Updated:
		c.before = known{unknownMetadata, true}
	}
	all.note(a.Peer, c)
}

// take takes a peer out.
func (all changes) take(peer string) (taken changes) {
	if c, ok := all[peer]; ok {
		delete(all, peer)
		taken = changes{peer: c}
	}
	return taken
}

// encodeChanges is the frame with what has changed, nil if in the end nothing has.
func encodeChanges(channelName string, all changes) []byte {
	var joined, left []protocol.PresencePeer
	for peer, c := range all {
		switch {
		case c.now.present && c.before != c.now:
			joined = append(joined, protocol.PresencePeer{PeerID: peer, Metadata: c.now.metadata})
		case c.before.present && !c.now.present:
			left = append(left, protocol.PresencePeer{PeerID: peer, Metadata: c.before.metadata})
		}
	}
	if len(joined)+len(left) == 0 {
		return nil
	}
	return encode(channelName, joined, left)
}

// encodeAnnounced is the same of what was announced: peers that left did so with the
// metadata that was announced last.
func encodeAnnounced(channelName string, all changes) []byte {
	for peer, c := range all {
		if !c.now.present {
			c.before.metadata = c.now.metadata
			all[peer] = c
		}
	}
	return encodeChanges(channelName, all)
}

// encodeSnapshot is one frame with all members.
func encodeSnapshot(channelName string, members map[string]string) []byte {
	joined := make([]protocol.PresencePeer, 0, len(members))
	for peer, metadata := range members {
		joined = append(joined, protocol.PresencePeer{PeerID: peer, Metadata: metadata})
	}
	return encode(channelName, joined, nil)
}

func encode(channelName string, joined, left []protocol.PresencePeer) []byte {
	byPeer := func(a, b protocol.PresencePeer) int { return strings.Compare(a.PeerID, b.PeerID) }
	slices.SortFunc(joined, byPeer)
	slices.SortFunc(left, byPeer)
	return protocol.AppendTextFrame(nil, protocol.AppendPresence(nil, channelName, joined, left))
}
