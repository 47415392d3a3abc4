package roster

import (
	"time"
	"weak"

	"fleetwire/pkg/broker"
	"fleetwire/pkg/presence"
)

// view is a channel that connections of this node watch by name, or that
// something was announced of which those may want who watch patterns.
type view struct {
	id        presence.ChannelID
	watchers  []*watching // who have got their snapshot
	newcomers []*watching // who have not

	// round counts how often the view was begun: answers to what was asked before
	// concern nobody.
	round  int
	heard  bool // its announcements come in
	loaded bool // members is true, as of version
	// members is who is there and their metadata; was, of those who changed in this
	// window, what the watchers know.
	members    map[string]string
	shown      weak.Pointer[byte] // the snapshot of members, for as long as somebody has it queued
	shownBytes int                // its length
	version    presence.Version
	was        map[string]known
	// settled is until when nobody is shown to leave (see settling); zero: a peer
	// that is not in Redis has left.
	settled time.Time

	asked   bool                    // it is to be loaded
	queued  bool                    // in Roster.toLoad
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

// view finds or begins a view. It is called with r.mu held, as is all below.
func (r *Roster) view(id presence.ChannelID) *view {
	v := r.views[id]
	if v == nil {
		v = &view{id: id}
		r.views[id] = v
	}
	return v
}

// reset forgets who is there: nobody watches by name any more.
func (v *view) reset() {
	v.round++
	v.heard, v.loaded, v.asked = false, false, false
	v.members, v.was, v.pending, v.version, v.settled = nil, nil, nil, presence.Version{}, time.Time{}
	v.watchers, v.newcomers = nil, nil
	v.shown = weak.Pointer[byte]{}
}

func (v *view) watched() bool { return len(v.watchers)+len(v.newcomers) > 0 }

func (r *Roster) dropIfIdle(v *view) {
	if !v.watched() && !v.open {
		delete(r.views, v.id)
	}
}

// want asks for the announcements of a view. When they come in it is loaded.
func (r *Roster) want(v *view) {
	round := v.round
	err := r.opt.Interest.SetWatchers(v.id.App, v.id.Channel, 1, func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case v.round != round:
		case err != nil:
			r.retryWant(v)
			signal(r.loading)
		default:
			v.heard = true
			r.load(v)
		}
	})
	if err != nil {
		r.retryWant(v)
	}
}

// retryWant has want called again with the next look at what needs another try:
// the link to Redis is down.
func (r *Roster) retryWant(v *view) {
	r.unsure = append(r.unsure, v)
}

// Restored has every view loaded again: the link to Redis was lost.
func (r *Roster) Restored() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.views {
		if v.heard {
			v.asked, v.pending = false, nil // what is being loaded may be older than the link
			v.round++
			r.load(v)
		}
	}
}

// load has the view loaded. Announcements wait until that is done.
func (r *Roster) load(v *view) {
	if v.asked {
		return
	}
	v.asked = true
	if !v.queued {
		v.queued = true
		r.toLoad = append(r.toLoad, v)
	}
	signal(r.loading)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Announced takes announcements, in the order in which they were made.
func (r *Roster) Announced(batch []broker.Delivery) {
	for i := range batch {
		d := &batch[i]
		a, err := presence.ParseAnnouncement(d.Frame)
		if err != nil {
			r.opt.Log.Warn("an announcement in redis is not from fleetwire, dropped", "channel", d.Channel, "err", err)
			continue
		}
		r.mu.Lock()
		id := presence.ChannelID{App: d.App, Channel: d.Channel}
		if len(r.patterns[d.App]) > 0 {
			r.note(r.view(id), &a)
		}
		if v := r.views[id]; v != nil && v.heard {
			r.take(v, a)
		}
		r.mu.Unlock()
	}
}

// take brings a view up to an announcement.
func (r *Roster) take(v *view, a presence.Announcement) {
	switch at := v.version; {
	case v.asked:
		if v.pending = append(v.pending, a); len(v.pending) > maxPending {
			v.pending = nil
			v.asked = false
			v.round++ // what is being loaded is too old
			r.load(v)
		}
	case a.Version.Number == 1 && len(v.members) == 0,
		a.Version.Incarnation == at.Incarnation && a.Version.Number == at.Number+1:
		r.apply(v, a)
	case a.Version.Incarnation == at.Incarnation && a.Version.Number <= at.Number: // was loaded with it
	default: // at least one is missing
		r.load(v)
	}
}

func (r *Roster) apply(v *view, a presence.Announcement) {
	v.version = a.Version
	unsettled := time.Now().Before(v.settled)
	for _, c := range a.Changes {
		if c.Kind == presence.Left && unsettled {
			continue // it may be on a node that has yet to state it again
		}
		r.set(v, c.Peer, known{c.Metadata, c.Kind != presence.Left})
	}
	if v.canWelcome() {
		r.openFor(v)
	} else if len(v.newcomers) > 0 {
		r.open(v)
	}
}

// set changes what the view has of a peer, and notes what the watchers know of it.
func (r *Roster) set(v *view, peer string, now known) {
	metadata, present := v.members[peer]
	if !now.present {
		now.metadata = ""
	}
	before := known{metadata, present}
	if before == now {
		return
	}
	v.shown = weak.Pointer[byte]{}
	if now.present {
		if v.members == nil {
			v.members = map[string]string{}
		}
		v.members[peer] = now.metadata
	} else {
		delete(v.members, peer)
	}
	if len(v.watchers) == 0 {
		return // nobody knows anything
	}
	if _, changed := v.was[peer]; !changed {
		if v.was == nil {
			v.was = map[string]known{}
		}
		v.was[peer] = before
	}
	r.open(v)
}

// replace makes the view what Redis has.
func (r *Roster) replace(v *view, state presence.State) {
	now := time.Now()
	if v.version.Incarnation != state.Version.Incarnation && len(v.members) > 0 && v.settled.IsZero() {
		v.settled = now.Add(r.settling)
		r.lost = append(r.lost, v)
		signal(r.loading)
	}
	there := make(map[string]string, len(state.Members))
	for _, m := range state.Members {
		r.set(v, m.Peer, known{m.Metadata, true})
		there[m.Peer] = m.Metadata
	}
	if now.Before(v.settled) {
		there = v.members // for now
	} else {
		v.settled = time.Time{}
	}
	for peer := range v.members {
		if _, ok := there[peer]; !ok {
			r.set(v, peer, known{})
		}
	}
	v.version, v.loaded = state.Version, true
	if len(v.newcomers) > 0 {
		r.openFor(v)
	}
	pending := v.pending
	v.pending = nil
	for _, a := range pending {
		r.take(v, a)
	}
}

// note keeps what those who watch patterns are to hear of an announcement.
func (r *Roster) note(v *view, a *presence.Announcement) {
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
	r.open(v)
}
