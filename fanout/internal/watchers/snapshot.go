package watchers

import (
	"time"
	"unsafe"
	"weak"

	"fleetwire/pkg/protocol"
)

// large is how many members a channel may have for its snapshot to be encoded with
// the lock held: with 4 KiB of metadata each that takes some tenths of a millisecond.
const large = 100

// snapshot is a large channel's, which is encoded without the lock: the loops of all
// connections would wait for that.
type snapshot struct {
	view    *view
	members map[string]string // not to be changed meanwhile
	ready   []*watching
	opened  bool // the window was opened for it
}

// encodeLater has the snapshot for these newcomers encoded when the lock is free. The
// window stays open until it is; changes gather meanwhile, for the newcomers too.
func (ws *Watchers) encodeLater(v *view, ready []*watching) {
	v.encoding, v.shared = true, true
	ws.later = &snapshot{view: v, members: v.members, ready: ready, opened: !v.open}
	v.open = true
}

// encoded gives the newcomers that are still there their snapshot, and has the window
// close for what has changed since.
func (ws *Watchers) encoded(s *snapshot, frame []byte) {
	v := s.view
	ready := s.ready[:0]
	for _, entry := range s.ready {
		if ws.watching[watcherKey{v, entry.watcher.ID()}] == entry {
			ready = append(ready, entry)
		}
	}
	if v.shared { // nothing has changed
		v.keepShown(frame)
	}
	ws.show(v, ready, frame)
	ws.budget.spend(v.id.App, ws.closing, time.Now())
	ws.closing = 0
	v.encoding, v.shared = false, false
	if !s.opened {
		return // it closes in its turn
	}
	v.open = false
	if len(v.was) > 0 || v.announced != nil {
		ws.open(v)
	}
	if v.loaded && v.canWelcome() {
		ws.openFor(v)
	}
	ws.dropIfIdle(v)
}

// shownFrame is the snapshot of the members, nil if no connection has it queued. Those
// who get the same one share it, also when they come one after the other: one who does
// not read keeps it for a while.
func (v *view) shownFrame() []byte {
	if first := v.shown.Value(); first != nil {
		return unsafe.Slice(first, v.shownBytes)
	}
	return nil
}

// keepShown keeps the snapshot of the members for those who come next.
func (v *view) keepShown(frame []byte) []byte {
	v.shown, v.shownBytes = weak.Make(unsafe.SliceData(frame)), len(frame)
	return frame
}

// encodeSnapshot is one frame with all members.
func encodeSnapshot(channelName string, members map[string]string) []byte {
	joined := make([]protocol.PresencePeer, 0, len(members))
	for peer, metadata := range members {
		joined = append(joined, protocol.PresencePeer{PeerID: peer, Metadata: metadata})
	}
	if len(joined) == 0 {
		return protocol.AppendTextFrame(nil, protocol.AppendPresence(nil, channelName, nil, nil))
	}
	return encode(channelName, joined, nil)
}
