package watchers

import (
	"slices"
	"time"
	"weak"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/presence"
)

// view is a channel that connections of this node watch by name, or that
// something was announced of which those may want who watch patterns.
type view struct {
	id        presence.ChannelID
	watchers  []*watching // who have got their snapshot
	newcomers []*watching // who have not

	// round counts how often the view was begun: answers to earlier questions are
	// ignored.
	round  int
	heard  bool // its announcements come in
	loaded bool // members is true, as of version
	// members is who is there and their metadata. While it is frozen it is read without
	// the lock.
	members    map[string]string
	version    presence.Version
	shown      weak.Pointer[byte] // the snapshot of members, for as long as a connection has it queued
	shownBytes int                // its length
	// settled is until when no peer is shown to leave (see settling); zero: a peer
	// that is not in Redis has left.
	settled time.Time
	// settledAtLast is until when settled may be put off.
	settledAtLast time.Time

	requested bool                    // it is to be loaded
	queued    bool                    // in Watchers.toLoad
	pending   []presence.Announcement // to be applied
	applied   int                     // changes of the first of them, already

	// The changes in the window, for those who watch the channel by name and for those
	// who watch patterns; joined are peers that are in Watchers.joining.
	changes   changes
	announced changes
	joined    []string

	open      bool // the window
	closes    time.Time
	postponed bool     // for the app was sent too much
	closing   *closing // the window before, as long as it is being closed
}

// maxPending bounds the announcements that wait for a view to be loaded. Past it
// they are forgotten, and the view is loaded once more.
const maxPending = 1000

// appliedAtOnce is how many changes are applied before the lock is free again.
const appliedAtOnce = 64

// view finds or begins a view. It is called with ws.mu held, as is all below.
func (ws *Watchers) view(id presence.ChannelID) *view {
	v := ws.views[id]
	if v == nil {
		v = &view{id: id}
		ws.views[id] = v
	}
	return v
}

// reset forgets who is there: no connection watches by name any more.
func (ws *Watchers) reset(v *view) {
	ws.joining.forget(v, v.joined)
	v.round++
	v.heard, v.loaded, v.requested = false, false, false
	v.members, v.changes, v.joined, v.version, v.settled = nil, nil, nil, presence.Version{}, time.Time{}
	v.watchers, v.newcomers = nil, nil
	v.shown = weak.Pointer[byte]{}
	v.forgetPending()
}

func (v *view) forgetPending() { v.pending, v.applied = nil, 0 }

// frozen says whether members must stay as they are.
func (v *view) frozen() bool { return v.requested || v.lent() }

// lent says whether a snapshot of the members is being encoded.
func (v *view) lent() bool { return v.closing != nil && v.closing.members != nil }

// current says whether members is what is known.
func (v *view) current() bool { return v.loaded && !v.frozen() && len(v.pending) == 0 }

func (v *view) watched() bool { return len(v.watchers)+len(v.newcomers) > 0 }

func (ws *Watchers) dropIfIdle(v *view) {
	if !v.watched() && !v.open && v.closing == nil {
		delete(ws.views, v.id)
	}
}

// want asks for the announcements of a view. When they come in it is loaded.
func (ws *Watchers) want(v *view) {
	round := v.round
	err := ws.opt.Interest.SetWatchers(v.id.App, v.id.Channel, 1, func(err error) {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		switch {
		case v.round != round:
		case err != nil:
			ws.retryWant(v)
			ws.loading.Set()
		default:
			v.heard = true
			ws.load(v)
		}
	})
	if err != nil {
		ws.retryWant(v)
	}
}

// retryWant has want called again with the next look at what needs another try:
// the link to Redis is down.
func (ws *Watchers) retryWant(v *view) {
	ws.unsure = append(ws.unsure, v)
}

// Restored has every view loaded again: the link to Redis was lost.
func (ws *Watchers) Restored() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, v := range ws.views {
		if v.heard {
			v.requested = false // what is being loaded may be older than the link
			v.round++
			v.forgetPending()
			ws.load(v)
		}
	}
}

// load has the view loaded. Announcements wait until that is done.
func (ws *Watchers) load(v *view) {
	if v.requested {
		return
	}
	v.requested = true
	ws.toLoad.add(v)
	ws.loading.Set()
}

// Announced takes announcements, in the order in which they were made.
func (ws *Watchers) Announced(batch []envelope.Delivery) {
	for i := range batch {
		d := &batch[i]
		a, err := presence.ParseAnnouncement(d.Frame)
		if err != nil {
			ws.opt.Log.Warn("an announcement in redis is not from fleetwire, dropped", "channel", d.Channel, "err", err)
			continue
		}
		id := presence.ChannelID{App: d.App, Channel: d.Channel}
		for part := range slices.Chunk(a.Changes, appliedAtOnce) {
			ws.note(id, part)
		}
		if v := ws.take(id, a); v != nil {
			ws.catchUp(v)
		}
	}
}

// note keeps what those who watch patterns are to hear.
func (ws *Watchers) note(id presence.ChannelID, announced []presence.Change) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.patterns[id.App]) == 0 {
		return
	}
	v := ws.view(id)
	for i := range announced {
		v.announced.noteAnnounced(&announced[i])
	}
	ws.open(v)
}

// take has an announcement wait for those before it. It returns the view, if there is
// one that needs it.
func (ws *Watchers) take(id presence.ChannelID, a presence.Announcement) *view {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	v := ws.views[id]
	if v == nil || !v.heard {
		return nil
	}
	if v.pending = append(v.pending, a); len(v.pending) > maxPending {
		v.forgetPending()
		v.requested = false
		v.round++ // what is being loaded is too old
		ws.load(v)
	}
	return v
}

// catchUp applies the announcements that have waited, unless the view is frozen: the
// caller that ends that calls it again. It is called without the lock.
func (ws *Watchers) catchUp(v *view) {
	for more := true; more; {
		ws.mu.Lock()
		more = ws.applyNext(v)
		ws.mu.Unlock()
	}
}

// applyNext applies some changes of the next announcement, and says whether there is
// more to apply.
func (ws *Watchers) applyNext(v *view) (more bool) {
	if v.frozen() || len(v.pending) == 0 {
		return false
	}
	a := &v.pending[0]
	switch at := v.version; {
	case v.applied > 0,
		a.Version.Number == 1 && len(v.members) == 0,
		a.Version.Incarnation == at.Incarnation && a.Version.Number == at.Number+1:
		rest := a.Changes[v.applied:]
		part := rest[:min(len(rest), appliedAtOnce)]
		ws.apply(v, part)
		if v.applied += len(part); v.applied < len(a.Changes) {
			return true
		}
		v.version = a.Version
	case a.Version.Incarnation == at.Incarnation && a.Version.Number <= at.Number: // was loaded with it
	default: // at least one is missing
		ws.load(v)
	}
	v.pending, v.applied = v.pending[1:], 0
	if len(v.pending) == 0 {
		v.pending = nil
		ws.caughtUp(v)
	}
	return len(v.pending) > 0
}

func (ws *Watchers) apply(v *view, announced []presence.Change) {
	if time.Now().Before(v.settled) {
		announced = slices.DeleteFunc(slices.Clone(announced), func(c presence.Change) bool {
			return c.Kind == presence.Left // it may be on a node that has yet to state it again
		})
	}
	ws.setAll(v, announced)
}

func (ws *Watchers) setAll(v *view, all []presence.Change) {
	for i := range all {
		ws.set(v, &all[i])
	}
}

// caughtUp has newcomers get their snapshot, for which they may have waited.
func (ws *Watchers) caughtUp(v *view) {
	if v.canWelcome() {
		ws.openFor(v)
	} else if len(v.newcomers) > 0 {
		ws.open(v)
	}
}

// set changes what the view has of a peer, and notes it for those who watch.
func (ws *Watchers) set(v *view, c *presence.Change) {
	metadata, present := v.members[c.Peer]
	before, now := known{metadata, present}, known{c.Metadata, true}
	if c.Kind == presence.Left {
		now = known{}
	}
	if before == now {
		return
	}
	v.shown = weak.Pointer[byte]{}
	if now.present {
		if v.members == nil {
			v.members = map[string]string{}
		}
		v.members[c.Peer] = now.metadata
	} else {
		delete(v.members, c.Peer)
	}
	if !v.hasShown() {
		return
	}
	v.changes.note(c.Peer, change{before, now})
	switch {
	case !now.present:
		ws.joining.left(v, c.Peer)
	case !before.present && len(v.members) <= few:
		ws.joining.add(v, c.Peer)
	}
	ws.open(v)
}

// hasShown says whether a connection knows, or is just told, who is there.
func (v *view) hasShown() bool {
	return len(v.watchers) > 0 || v.closing != nil && len(v.closing.ready) > 0
}
