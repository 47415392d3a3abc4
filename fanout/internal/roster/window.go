package roster

import (
	"context"
	"slices"
	"strings"
	"time"
	"unsafe"
	"weak"

	"fleetwire/pkg/protocol"
)

// open opens the view's window, if it is not open. It is called with r.mu held.
func (r *Roster) open(v *view) {
	if !v.open {
		v.open = true
		r.closeAt(v, time.Now().Add(window))
		signal(r.flushing)
	}
}

// closeAt has the view's window close then.
func (r *Roster) closeAt(v *view, at time.Time) {
	v.closes = at
	i := len(r.due)
	for i > 0 && r.due[i-1].closes.After(at) {
		i--
	}
	r.due = slices.Insert(r.due, i, v)
}

// openFor opens the view's window for newcomers. The first has nobody to wait for,
// and in a small channel they must not: see few.
func (r *Roster) openFor(v *view) {
	if (v.open || len(v.watchers) > 0) && (len(v.members) > few || !v.canWelcome()) {
		r.open(v)
		return
	}
	if v.postponed {
		return
	}
	if v.open {
		i := slices.Index(r.due, v)
		if i < 0 {
			return // it is about to be closed
		}
		r.due = slices.Delete(r.due, i, i+1)
	}
	v.open = true
	r.now = append(r.now, v)
	signal(r.flushing)
}

// canWelcome says whether some newcomer can have its snapshot.
func (v *view) canWelcome() bool {
	return slices.ContainsFunc(v.newcomers, func(entry *watching) bool { return entry.ready && v.reached(entry) })
}

// Run closes windows and loads views until ctx ends.
func (r *Roster) Run(ctx context.Context) {
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		r.runLoads(ctx)
	}()
	r.runWindows(ctx)
	<-loaded
}

func (r *Roster) runWindows(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var spare []Watcher // becomes r.dirty
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.flushing:
		}
		for {
			r.mu.Lock()
			v, wait := r.nextDue()
			if v != nil {
				r.close(v)
			}
			dirty := r.dirty
			r.dirty = spare
			r.mu.Unlock()
			for i, w := range dirty {
				w.Flush()
				dirty[i] = nil
			}
			spare = dirty[:0]
			if v == nil {
				if wait > 0 {
					timer.Reset(wait)
				}
				break
			}
		}
	}
}

// nextDue takes the next view whose window is to be closed, or says in how long
// there will be one, 0 if there is none. Windows of an app that was sent too much
// stay open for longer.
func (r *Roster) nextDue() (v *view, wait time.Duration) {
	now := time.Now()
	for {
		switch {
		case len(r.now) > 0:
			v, r.now = r.now[0], r.now[1:]
		case len(r.due) == 0:
			r.now, r.due = nil, nil
			return nil, 0
		default:
			if wait = r.due[0].closes.Sub(now); wait > 0 {
				r.now = nil
				return nil, wait
			}
			v, r.due = r.due[0], r.due[1:]
		}
		owes := r.budget.owes(v.id.App, now)
		if owes == 0 {
			return v, 0
		}
		v.postponed = true
		r.closeAt(v, now.Add(max(owes, window)))
	}
}

// close ends the view's window: what has changed goes out, then the snapshots. It
// is called with r.mu held, for appending to thousands of queues takes no longer
// than a millisecond; what is appended is written without it.
func (r *Roster) close(v *view) {
	v.open, v.postponed = false, false
	if frame := v.changes(); frame != nil {
		for _, entry := range v.watchers {
			r.append(entry.watcher, frame)
		}
	}
	v.was = nil
	r.closeAnnounced(v)
	r.welcome(v)
	r.budget.spend(v.id.App, r.closing, time.Now())
	r.closing = 0
	r.dropIfIdle(v)
}

func (r *Roster) append(w Watcher, frame []byte) { r.appended(w, frame, w.AppendPresence(frame)) }

func (r *Roster) appended(w Watcher, frame []byte, flush bool) {
	r.frames.Add(1)
	r.closing += perFrame + len(frame)
	if flush {
		r.dirty = append(r.dirty, w)
	}
}

// changes is the frame with what has changed, nil if in the end nothing has.
func (v *view) changes() []byte {
	var joined, left []protocol.PresencePeer
	for peer, was := range v.was {
		metadata, present := v.members[peer]
		joined, left = sortOut(joined, left, peer, was, known{metadata, present})
	}
	return encode(v.id.Channel, joined, left)
}

func sortOut(joined, left []protocol.PresencePeer, peer string, was, now known) (j, l []protocol.PresencePeer) {
	switch {
	case now.present && (!was.present || was.metadata != now.metadata):
		joined = append(joined, protocol.PresencePeer{PeerID: peer, Metadata: now.metadata})
	case was.present && !now.present:
		left = append(left, protocol.PresencePeer{PeerID: peer, Metadata: was.metadata})
	}
	return joined, left
}

func encode(name string, joined, left []protocol.PresencePeer) []byte {
	if len(joined)+len(left) == 0 {
		return nil
	}
	byPeer := func(a, b protocol.PresencePeer) int { return strings.Compare(a.PeerID, b.PeerID) }
	slices.SortFunc(joined, byPeer)
	slices.SortFunc(left, byPeer)
	return protocol.AppendTextFrame(nil, protocol.AppendPresence(nil, name, joined, left))
}

// closeAnnounced hands what was announced to those who watch patterns, but for
// those who watch the channel by name too and hear of it from there.
func (r *Roster) closeAnnounced(v *view) {
	if v.announced == nil {
		return
	}
	var joined, left []protocol.PresencePeer
	for peer, n := range v.announced {
		if !n.now.present {
			n.before.metadata = n.now.metadata
		}
		joined, left = sortOut(joined, left, peer, n.before, n.now)
	}
	v.announced = nil
	frame := encode(v.id.Channel, joined, left)
	if frame == nil {
		return
	}
	var matching []*patternWatch
	for _, p := range r.patterns[v.id.App] {
		if p.pattern.Match(v.id.Channel) {
			matching = append(matching, p)
		}
	}
	got := map[uint64]bool{} // who watches two patterns that match gets it once
	for _, p := range matching {
		for _, w := range p.watchers {
			id := w.ID()
			if r.watching[watcherKey{v, id}] != nil || got[id] {
				continue
			}
			if len(matching) > 1 {
				got[id] = true
			}
			r.append(w, frame)
		}
	}
}

// welcome gives the newcomers their snapshot.
func (r *Roster) welcome(v *view) {
	if !v.loaded || v.asked {
		return // they get it when it is
	}
	var frame []byte
	var stay []*watching
	for _, entry := range v.newcomers {
		switch {
		case !entry.ready:
		case !v.reached(entry):
			r.waitFor(v, entry)
		default:
			if frame == nil {
				frame = v.snapshot()
			}
			entry.newcomer = false
			entry.at = len(v.watchers)
			v.watchers = append(v.watchers, entry)
			r.appended(entry.watcher, frame, entry.watcher.AppendSnapshot(frame))
			continue
		}
		entry.at = len(stay)
		stay = append(stay, entry)
	}
	v.newcomers = stay
}

// reached says whether the view has come to where the newcomer's own peer is in it.
func (v *view) reached(entry *watching) bool {
	since := entry.since
	return since.Number == 0 || since.Incarnation == v.version.Incarnation && since.Number <= v.version.Number
}

// waitFor has a newcomer wait one window more: the announcement of its own join
// is under way. If that did not help the view is loaded, and will do as it is.
func (r *Roster) waitFor(v *view, entry *watching) {
	if entry.waited {
		entry.since.Number = 0
		r.load(v)
		return
	}
	entry.waited = true
	r.open(v)
}

// snapshot is one frame with all members. Those who get the same one share it, also
// when they come one after the other: one who does not read keeps it for a while.
func (v *view) snapshot() []byte {
	if first := v.shown.Value(); first != nil {
		return unsafe.Slice(first, v.shownBytes)
	}
	frame := v.encodeSnapshot()
	v.shown, v.shownBytes = weak.Make(unsafe.SliceData(frame)), len(frame)
	return frame
}

func (v *view) encodeSnapshot() []byte {
	joined := make([]protocol.PresencePeer, 0, len(v.members))
	for peer, metadata := range v.members {
		joined = append(joined, protocol.PresencePeer{PeerID: peer, Metadata: metadata})
	}
	if len(joined) == 0 {
		return protocol.AppendTextFrame(nil, protocol.AppendPresence(nil, v.id.Channel, nil, nil))
	}
	return encode(v.id.Channel, joined, nil)
}
