package watchers

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"fleetwire/pkg/protocol"
)

// open opens the view's window, if it is not open. It is called with ws.mu held.
func (ws *Watchers) open(v *view) {
	if !v.open {
		v.open = true
		ws.closeAt(v, time.Now().Add(window))
		ws.flushing.Set()
	}
}

// closeAt has the view's window close then.
func (ws *Watchers) closeAt(v *view, at time.Time) {
	v.closes = at
	i := len(ws.due)
	for i > 0 && ws.due[i-1].closes.After(at) {
		i--
	}
	ws.due = slices.Insert(ws.due, i, v)
}

// openFor opens the view's window for newcomers. The first waits for no one,
// and in a small channel they must not: see few.
func (ws *Watchers) openFor(v *view) {
	if (v.open || len(v.watchers) > 0) && (len(v.members) > few || !v.canWelcome()) {
		ws.open(v)
		return
	}
	if v.postponed {
		return
	}
	if v.open {
		i := slices.Index(ws.due, v)
		if i < 0 {
			return // it is about to be closed
		}
		ws.due = slices.Delete(ws.due, i, i+1)
	}
	v.open = true
	ws.now = append(ws.now, v)
	ws.flushing.Set()
}

// canWelcome says whether some newcomer can have its snapshot.
func (v *view) canWelcome() bool {
	return slices.ContainsFunc(v.newcomers, func(entry *watching) bool { return entry.ready && v.reached(entry) })
}

// Run closes windows and loads views until ctx ends.
func (ws *Watchers) Run(ctx context.Context) {
	var loads sync.WaitGroup
	for range loaders {
		loads.Go(func() { ws.runLoads(ctx) })
	}
	ws.runWindows(ctx)
	loads.Wait()
}

func (ws *Watchers) runWindows(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var spare []Watcher // becomes ws.dirty
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-ws.flushing:
		}
		for {
			ws.mu.Lock()
			v, wait := ws.nextDue()
			if v != nil {
				ws.close(v)
			}
			later := ws.later
			ws.later = nil
			spare = ws.flushAndUnlock(spare)
			if later != nil {
				frame := encodeSnapshot(later.view.id.Channel, later.members)
				ws.mu.Lock()
				ws.encoded(later, frame)
				spare = ws.flushAndUnlock(spare)
			}
			if v == nil {
				if wait > 0 {
					timer.Reset(wait)
				}
				break
			}
		}
	}
}

// flushAndUnlock writes what was appended, without the lock. spare becomes ws.dirty,
// and what that was is returned empty.
func (ws *Watchers) flushAndUnlock(spare []Watcher) []Watcher {
	dirty := ws.dirty
	ws.dirty = spare
	ws.mu.Unlock()
	for i, w := range dirty {
		w.Flush()
		dirty[i] = nil
	}
	return dirty[:0]
}

// nextDue takes the next view whose window must close, or says in how long there
// will be one; 0: there is none. Windows of an app that was sent too much
// stay open for longer.
func (ws *Watchers) nextDue() (v *view, wait time.Duration) {
	now := time.Now()
	for {
		switch {
		case len(ws.now) > 0:
			v, ws.now = ws.now[0], ws.now[1:]
		case len(ws.due) == 0:
			ws.now, ws.due = nil, nil
			return nil, 0
		default:
			if wait = ws.due[0].closes.Sub(now); wait > 0 {
				ws.now = nil
				return nil, wait
			}
			v, ws.due = ws.due[0], ws.due[1:]
		}
		owes := ws.budget.owes(v.id.App, now)
		if owes == 0 {
			return v, 0
		}
		v.postponed = true
		ws.closeAt(v, now.Add(max(owes, window)))
	}
}

// close ends the view's window: what has changed goes out, then the snapshots. It
// is called with ws.mu held, for appending to thousands of queues takes no longer
// than a millisecond; what is appended is written without it.
func (ws *Watchers) close(v *view) {
	v.open, v.postponed = false, false
	if frame := v.changes(); frame != nil {
		for _, entry := range v.watchers {
			ws.append(entry.watcher, frame)
		}
	}
	v.was = nil
	ws.closeAnnounced(v)
	ws.welcome(v)
	ws.budget.spend(v.id.App, ws.closing, time.Now())
	ws.closing = 0
	ws.dropIfIdle(v)
}

func (ws *Watchers) append(w Watcher, frame []byte) { ws.appended(w, frame, w.AppendPresence(frame)) }

func (ws *Watchers) appended(w Watcher, frame []byte, flush bool) {
	ws.frames.Add(1)
	ws.closing += perFrame + len(frame)
	if flush {
		ws.dirty = append(ws.dirty, w)
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
func (ws *Watchers) closeAnnounced(v *view) {
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
	for _, p := range ws.patterns[v.id.App] {
		if p.pattern.Match(v.id.Channel) {
			matching = append(matching, p)
		}
	}
	got := map[uint64]bool{} // who watches two patterns that match gets it once
	for _, p := range matching {
		for _, w := range p.watchers {
			id := w.ID()
			if ws.watching[watcherKey{v, id}] != nil || got[id] {
				continue
			}
			if len(matching) > 1 {
				got[id] = true
			}
			ws.append(w, frame)
		}
	}
}

// welcome gives the newcomers their snapshot.
func (ws *Watchers) welcome(v *view) {
	if !v.loaded || v.asked {
		return // they get it when it is
	}
	var ready []*watching
	for _, entry := range v.newcomers {
		switch {
		case !entry.ready:
		case !v.reached(entry):
			ws.waitFor(v, entry)
		default:
			ready = append(ready, entry)
		}
	}
	switch frame := v.shownFrame(); {
	case len(ready) == 0:
	case frame != nil:
		ws.show(v, ready, frame)
	case len(v.members) > large:
		ws.encodeLater(v, ready)
	default:
		ws.show(v, ready, v.keepShown(encodeSnapshot(v.id.Channel, v.members)))
	}
}

// show makes watchers of newcomers, which the frame tells who is there.
func (ws *Watchers) show(v *view, ready []*watching, frame []byte) {
	for _, entry := range ready {
		entry.newcomer = false
		ws.appended(entry.watcher, frame, entry.watcher.AppendSnapshot(frame))
	}
	var stay []*watching
	for _, entry := range v.newcomers {
		list := &v.watchers
		if entry.newcomer {
			list = &stay
		}
		entry.at = len(*list)
		*list = append(*list, entry)
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
func (ws *Watchers) waitFor(v *view, entry *watching) {
	if entry.waited {
		entry.since.Number = 0
		ws.load(v)
		return
	}
	entry.waited = true
	ws.open(v)
}
