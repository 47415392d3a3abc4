package watchers

import (
	"maps"
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
	// members is who is there and their metadata; was, of those who changed in this
	// window, what the watchers know.
	members    map[string]string
	encoding   bool               // a snapshot is being encoded: see encodeLater
	shared     bool               // members is what is being encoded: set copies it first
	shown      weak.Pointer[byte] // the snapshot of members, for as long as a connection has it queued
	shownBytes int                // its length
	version    presence.Version
	was        map[string]known
	// settled is until when no peer is shown to leave (see settling); zero: a peer
	// that is not in Redis has left.
	settled time.Time

	asked   bool                    // it must be loaded
	queued  bool                    // in Watchers.toLoad
	pending []presence.Announcement // that came meanwhile

	// announced is what those who watch patterns are to hear, by peer.
	announced map[string]*announced

	open      bool // the window
	closes    time.Time
	postponed bool // for the app was sent too much
}

// known is what watchers know of a peer.
type known struct {
	metadata string
	present  bool
}

// announced is what became of a peer within a window, by announcements alone.
type announced struct {
	before, now known
}

// unknownMetadata is that of a peer that got other metadata; it differs from all.
const unknownMetadata = "?"

// maxPending bounds the announcements that wait for a view to be loaded. Past it
// they are forgotten, and the view is loaded once more.
const maxPending = 1000

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
func (v *view) reset() {
	v.round++
	v.heard, v.loaded, v.asked = false, false, false
	v.shared = false
	v.members, v.was, v.pending, v.version, v.settled = nil, nil, nil, presence.Version{}, time.Time{}
	v.watchers, v.newcomers = nil, nil
	v.shown = weak.Pointer[byte]{}
}

func (v *view) watched() bool { return len(v.watchers)+len(v.newcomers) > 0 }

func (ws *Watchers) dropIfIdle(v *view) {
	if !v.watched() && !v.open {
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
			v.asked, v.pending = false, nil // what is being loaded may be older than the link
			v.round++
			ws.load(v)
		}
	}
}

// load has the view loaded. Announcements wait until that is done.
func (ws *Watchers) load(v *view) {
	if v.asked {
		return
	}
	v.asked = true
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
		ws.mu.Lock()
		id := presence.ChannelID{App: d.App, Channel: d.Channel}
		if len(ws.patterns[d.App]) > 0 {
			ws.note(ws.view(id), &a)
		}
		if v := ws.views[id]; v != nil && v.heard {
			ws.take(v, a)
		}
		ws.mu.Unlock()
	}
}

// take brings a view up to an announcement.
func (ws *Watchers) take(v *view, a presence.Announcement) {
	switch at := v.version; {
	case v.asked:
		if v.pending = append(v.pending, a); len(v.pending) > maxPending {
			v.pending = nil
			v.asked = false
			v.round++ // what is being loaded is too old
			ws.load(v)
		}
	case a.Version.Number == 1 && len(v.members) == 0,
		a.Version.Incarnation == at.Incarnation && a.Version.Number == at.Number+1:
		ws.apply(v, a)
	case a.Version.Incarnation == at.Incarnation && a.Version.Number <= at.Number: // was loaded with it
	default: // at least one is missing
		ws.load(v)
	}
}

func (ws *Watchers) apply(v *view, a presence.Announcement) {
	v.version = a.Version
	unsettled := time.Now().Before(v.settled)
	for _, c := range a.Changes {
		if c.Kind == presence.Left && unsettled {
			continue // it may be on a node that has yet to state it again
		}
		ws.set(v, c.Peer, known{c.Metadata, c.Kind != presence.Left})
	}
	if v.canWelcome() {
		ws.openFor(v)
	} else if len(v.newcomers) > 0 {
		ws.open(v)
	}
}

// set changes what the view has of a peer, and notes what the watchers know of it.
func (ws *Watchers) set(v *view, peer string, now known) {
	metadata, present := v.members[peer]
	if !now.present {
		now.metadata = ""
	}
	before := known{metadata, present}
	if before == now {
		return
	}
	v.shown = weak.Pointer[byte]{}
	if v.shared {
		v.members, v.shared = maps.Clone(v.members), false
	}
	if now.present {
		if v.members == nil {
			v.members = map[string]string{}
		}
		v.members[peer] = now.metadata
	} else {
		delete(v.members, peer)
	}
	if len(v.watchers) == 0 && !v.encoding {
		return // no watcher knows anything
	}
	if _, changed := v.was[peer]; !changed {
		if v.was == nil {
			v.was = map[string]known{}
		}
		v.was[peer] = before
	}
	ws.open(v)
}

// replace makes the view what Redis has; there is state.Members, by peer.
func (ws *Watchers) replace(v *view, state presence.State, there map[string]string) {
	now := time.Now()
	if v.version.Incarnation != state.Version.Incarnation && len(v.members) > 0 && v.settled.IsZero() {
		v.settled = now.Add(ws.settling)
		ws.lost = append(ws.lost, v)
		ws.loading.Set()
	}
	settling := now.Before(v.settled)
	if !settling {
		v.settled = time.Time{}
	}
	if len(v.members) == 0 && len(v.watchers) == 0 && !v.encoding {
		v.members, v.shown = there, weak.Pointer[byte]{}
	} else {
		ws.setAll(v, there, settling)
	}
	v.version, v.loaded = state.Version, true
	if len(v.newcomers) > 0 {
		ws.openFor(v)
	}
	pending := v.pending
	v.pending = nil
	for _, a := range pending {
		ws.take(v, a)
	}
}

// setAll sets all peers that are there. The others have left, unless they may still be
// stated.
func (ws *Watchers) setAll(v *view, there map[string]string, settling bool) {
	for peer, metadata := range there {
		ws.set(v, peer, known{metadata, true})
	}
	if settling || len(v.members) == len(there) {
		return
	}
	for peer := range v.members {
		if _, ok := there[peer]; !ok {
			ws.set(v, peer, known{})
		}
	}
}

// note keeps what those who watch patterns are to hear of an announcement.
func (ws *Watchers) note(v *view, a *presence.Announcement) {
	if v.announced == nil {
		v.announced = map[string]*announced{}
	}
	for _, c := range a.Changes {
		n := v.announced[c.Peer]
		if n == nil {
			n = &announced{}
			switch c.Kind {
			case presence.Left:
				n.before = known{c.Metadata, true}
			case presence.Updated:
				n.before = known{unknownMetadata, true}
			}
			v.announced[c.Peer] = n
		}
		n.now = known{present: c.Kind != presence.Left, metadata: c.Metadata}
	}
	ws.open(v)
}
