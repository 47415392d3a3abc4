package watchers

import (
	"time"
)

// large is how much may be encoded with the lock held, in peers: with 4 KiB of
// metadata each that takes some tenths of a millisecond, as it does to look whether so
// many patterns match.
const large = 100

// closing is a window that is being closed. If there is much to encode, the lock is free
// meanwhile: the loops of all connections would wait for that. Changes that come then are
// for the next window, also for those who get a snapshot in this one.
type closing struct {
	changes   changes           // for those who watch the channel by name
	announced changes           // for those who watch one of the patterns that match
	patterns  []*patternWatch   // of the app
	joined    []string          // of the changes, those in Watchers.joining
	ready     []*watching       // newcomers, who get a snapshot
	members   map[string]string // to encode it of; they stay as they are until the end

	changed, summary, snapshot []byte // the frames; nil: there is none
	matching                   []*patternWatch
}

// close ends the view's window: what has changed goes out, then the snapshots. It
// is called with ws.mu held, and may free it for a while. Appending to thousands of
// queues takes no longer than a millisecond; what is appended is written later.
func (ws *Watchers) close(v *view) {
	c := ws.begin(v)
	if len(c.changes)+len(c.announced)+len(c.patterns)+len(c.members) > large {
		ws.mu.Unlock()
		ws.encoding()
		c.encode(v.id.Channel)
		ws.mu.Lock()
	} else {
		c.encode(v.id.Channel)
	}
	ws.hand(v, c)
	ws.end(v, c)
}

func (ws *Watchers) begin(v *view) *closing {
	c := &closing{changes: v.changes, announced: v.announced, joined: v.joined}
	v.changes, v.announced, v.joined = nil, nil, nil
	v.closing, v.open, v.postponed = c, false, false
	if len(c.announced) > 0 {
		c.patterns = ws.patterns[v.id.App]
	}
	if c.ready = ws.ready(v); len(c.ready) == 0 {
		return c
	}
	if c.snapshot = v.shownFrame(); c.snapshot != nil {
		return c
	}
	if len(v.members) > large {
		c.members = v.members
		return c
	}
	c.snapshot = encodeSnapshot(v.id.Channel, v.members)
	v.keepShown(c.snapshot)
	return c
}

// ready are the newcomers that can have their snapshot.
func (ws *Watchers) ready(v *view) (ready []*watching) {
	if !v.current() {
		return nil // they get it when it is
	}
	for _, entry := range v.newcomers {
		switch {
		case !entry.ready:
		case !v.reached(entry):
			ws.waitFor(v, entry)
		default:
			ready = append(ready, entry)
		}
	}
	return ready
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

func (c *closing) encode(channelName string) {
	c.changed = encodeChanges(channelName, c.changes)
	if c.summary = encodeAnnounced(channelName, c.announced); c.summary != nil {
		for _, p := range c.patterns {
			if p.pattern.Match(channelName) {
				c.matching = append(c.matching, p)
			}
		}
	}
	if c.members != nil {
		c.snapshot = encodeSnapshot(channelName, c.members)
	}
}

// hand hands the frames to those for whom they are, and that have not left meanwhile.
func (ws *Watchers) hand(v *view, c *closing) {
	if c.changed != nil {
		for _, entry := range v.watchers {
			ws.append(entry.watcher, c.changed)
		}
	}
	ws.tell(v, c)
	if len(c.ready) > 0 {
		ws.welcome(v, c)
	}
	ws.budget.spend(v.id.App, ws.cost, time.Now())
	ws.cost = 0
}

// tell hands what was announced to those who watch patterns, but for those who watch the
// channel by name too and hear of it from there.
func (ws *Watchers) tell(v *view, c *closing) {
	got := map[uint64]bool{} // who watches two patterns that match gets it once
	for _, p := range c.matching {
		for _, w := range p.watchers {
			id := w.ID()
			if ws.watching[watcherKey{v, id}] != nil || got[id] {
				continue
			}
			if len(c.matching) > 1 {
				got[id] = true
			}
			ws.append(w, c.summary)
		}
	}
}

// welcome makes watchers of newcomers, which the snapshot tells who is there.
func (ws *Watchers) welcome(v *view, c *closing) {
	for _, entry := range c.ready {
		if ws.watching[watcherKey{v, entry.watcher.ID()}] == entry {
			entry.newcomer = false
			ws.appended(entry.watcher, c.snapshot, entry.watcher.AppendSnapshot(c.snapshot))
		}
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

func (ws *Watchers) append(w Watcher, frame []byte) { ws.appended(w, frame, w.AppendPresence(frame)) }

func (ws *Watchers) appended(w Watcher, frame []byte, flush bool) {
	ws.frames.Add(1)
	ws.cost += perFrame + len(frame)
	if flush {
		ws.dirty = append(ws.dirty, w)
	}
}

func (ws *Watchers) end(v *view, c *closing) {
	v.closing = nil
	ws.closed.Broadcast()
	ws.joining.forget(v, c.joined)
	if c.members != nil {
		v.keepShown(c.snapshot)
		if v.requested { // meanwhile: see loadQueue.next
			ws.toLoad.add(v)
			ws.loading.Set()
		}
	}
	ws.dropIfIdle(v)
}
