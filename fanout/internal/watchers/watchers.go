// Package watchers shows the connections of this node who is in their channels
// (protocol §4.3): a snapshot to each that begins to watch a channel, then what
// changes.
//
// For each channel that a connection watches by name the node has a view: who is
// in it, and since which version, loaded once and kept by the announcements that
// nodes make. Changes within a window go out as one frame, which is built once and
// shared by all watchers; so is the snapshot for those who come within it.
// A peer that leaves and is back within the window has not left.
//
// An announcement that is missing, or a link to Redis that was lost, has the view
// loaded again, and only the difference is shown. If meanwhile the channel was
// empty, or Redis has lost what was in it, all peers stay in the view until the
// nodes that may still have them have had the time to say so.
//
// A watcher of a pattern gets changes alone, of all channels that it matches, as
// they are announced. There is no view to compare them with, so changes during an
// outage of the node's link to Redis are not shown to it.
package watchers

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/presence"
)

const (
	// window is how long changes gather before they go out (protocol §4.3).
	window = 100 * time.Millisecond
	// few is how many may be in a channel for its newcomers to be shown at once.
	// Those who are there and a newcomer may have something to say to each other,
	// such as an offer of a WebRTC connection, as soon as they hear of each other,
	// and throw away what comes from a peer that they have not heard of. So a newcomer
	// is sent nothing directly before its snapshot (the watcher sees to that), and
	// others hear of it before anything that it sends to them: see Precede. Where
	// there are more, it is gathering that matters.
	few = 64
	// settling is for how long peers stay in a view after Redis has lost the channel:
	// longer than the nodes take to notice that, and to state their peers again.
	// Until then Redis does not know all nodes that a peer is on, so a peer that
	// leaves one of them may still be on another.
	settling = 10 * time.Second
)

// Watcher is a connection of this node.
type Watcher interface {
	// ID is the connection's id, unique in this process.
	ID() uint64
	// AppendPresence queues a shared, immutable frame with what has changed. flush
	// says that the caller must Flush the watcher: no other caller will. It never
	// blocks.
	AppendPresence(frame []byte) (flush bool)
	// AppendSnapshot is AppendPresence for the snapshot that Watch has promised.
	AppendSnapshot(frame []byte) (flush bool)
	// Flush writes what is queued, as far as that goes without blocking.
	Flush()
}

// Interest is where Watchers says which announcements it wants: the receiver.
type Interest interface {
	SetWatchers(app, channelName string, n int, done func(error)) error
	AddWatchPattern(app string, p *channel.Pattern, done func(error)) error
	RemoveWatchPattern(app string, p *channel.Pattern)
}

// Options set Watchers up.
type Options struct {
	Interest Interest
	// Load reads channels from Redis: presence.Load.
	Load func(context.Context, []presence.ChannelID) ([]presence.State, error)
	Log  *slog.Logger
}

// Watchers is safe for concurrent use. None of its calls wait for Redis.
type Watchers struct {
	opt      Options
	settling time.Duration // see the constant

	// mu is what the loops of all connections wait for, and the goroutine that delivers.
	// No member of a channel may add to the time that it is held: work for all members is
	// done without it, or in parts. See closing, replace and applyNext.
	mu           sync.Mutex
	views        map[presence.ChannelID]*view
	watching     map[watcherKey]*watching
	patterns     map[string][]*patternWatch // by app; a list is read without the lock: it grows, or is replaced
	now          []*view                    // whose windows close at once
	due          []*view                    // whose windows are open, the first to close first
	toLoad       loadQueue
	refused      []*view // that Redis refused to read; to try again at retryRefused
	retryRefused time.Time
	unsure       []*view // which Redis may not have heard of
	lost         []lost  // that settle, the first to be settled first
	joining      joining
	closed       *sync.Cond // a window is
	flushing     batch.Signal
	loading      batch.Signal

	budget budget
	reads  budget
	cost   int // of what is being handed out, in bytes

	dirty []Watcher // have frames to flush

	frames atomic.Uint64

	encoding func() // called when that begins without the lock: for tests
}

type watcherKey struct {
	view *view
	id   uint64
}

// watching is a connection that watches a channel by name.
type watching struct {
	watcher Watcher
	at      int // where in view.watchers, or in view.newcomers, it is
	// A newcomer is to get its snapshot when it is ready, and the view has come as
	// far as since.
	newcomer, ready, waited bool
	since                   presence.Version
}

type patternWatch struct {
	pattern  *channel.Pattern
	watchers []Watcher
}

// New returns Watchers. Nothing is shown before Run runs.
func New(opt Options) *Watchers {
	ws := &Watchers{
		opt:      opt,
		settling: settling,
		views:    map[presence.ChannelID]*view{},
		watching: map[watcherKey]*watching{},
		patterns: map[string][]*patternWatch{},
		budget:   budget{},
		reads:    budget{},
		flushing: batch.NewSignal(),
		toLoad:   newLoadQueue(),
		loading:  batch.NewSignal(),
		joining:  joining{},
		encoding: func() {},
	}
	ws.closed = sync.NewCond(&ws.mu)
	return ws
}

// Watch has w hear who comes and goes in the channel, once Ready has been
// called. It promises a snapshot, unless w watches the channel already.
func (ws *Watchers) Watch(w Watcher, app, channelName string) (promised bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	v := ws.view(presence.ChannelID{App: app, Channel: channelName})
	key := watcherKey{v, w.ID()}
	if ws.watching[key] != nil {
		return false
	}
	entry := &watching{watcher: w, newcomer: true, at: len(v.newcomers)}
	v.newcomers = append(v.newcomers, entry)
	ws.watching[key] = entry
	if len(v.watchers)+len(v.newcomers) == 1 {
		ws.want(v)
		if len(ws.unsure) > 0 {
			ws.loading.Set()
		}
	}
	return true
}

// Ready lets w have its snapshot, not before the channel has come to the version:
// that at which w's peer is in it itself. If w does not watch the channel (any
// more), or has been told of it already, nothing happens.
func (ws *Watchers) Ready(w Watcher, app, channelName string, since presence.Version) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	v := ws.views[presence.ChannelID{App: app, Channel: channelName}]
	entry := ws.watching[watcherKey{v, w.ID()}]
	if v == nil || entry == nil || !entry.newcomer {
		return
	}
	entry.ready, entry.since = true, since
	if v.loaded {
		ws.openFor(v)
	}
}

// Unwatch undoes Watch: w gets no further frame about the channel, unless a
// pattern that it watches matches. It says whether the snapshot is still promised
// that w does not get any more.
func (ws *Watchers) Unwatch(w Watcher, app, channelName string) (promised bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	v := ws.views[presence.ChannelID{App: app, Channel: channelName}]
	key := watcherKey{v, w.ID()}
	entry := ws.watching[key]
	if v == nil || entry == nil {
		return false
	}
	delete(ws.watching, key)
	list := &v.watchers
	if entry.newcomer {
		list = &v.newcomers
	}
	last := len(*list) - 1
	(*list)[entry.at] = (*list)[last]
	(*list)[entry.at].at = entry.at
	(*list)[last] = nil
	*list = (*list)[:last]
	if len(v.watchers)+len(v.newcomers) == 0 {
		_ = ws.opt.Interest.SetWatchers(app, channelName, 0, nil)
		ws.reset(v)
		ws.dropIfIdle(v)
	}
	return entry.newcomer
}

// WatchPattern has w hear who comes and goes in all channels that the pattern
// matches. done and the error are as in receiver.AddWatchPattern.
func (ws *Watchers) WatchPattern(w Watcher, app string, p *channel.Pattern, done func(error)) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if err := ws.opt.Interest.AddWatchPattern(app, p, done); err != nil {
		return err
	}
	a := ws.findPattern(app, p)
	if a == nil {
		a = &patternWatch{pattern: p}
		ws.patterns[app] = append(ws.patterns[app], a)
	}
	if a.find(w) >= 0 {
		ws.opt.Interest.RemoveWatchPattern(app, p) // a watcher counts once; done waits all the same
		return nil
	}
	a.watchers = append(a.watchers, w)
	return nil
}

// UnwatchPattern undoes WatchPattern.
func (ws *Watchers) UnwatchPattern(w Watcher, app string, p *channel.Pattern) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	a := ws.findPattern(app, p)
	if a == nil {
		return
	}
	i := a.find(w)
	if i < 0 {
		return
	}
	a.watchers = slices.Delete(a.watchers, i, i+1)
	ws.opt.Interest.RemoveWatchPattern(app, p)
	if len(a.watchers) > 0 {
		return
	}
	ws.patterns[app] = slices.DeleteFunc(slices.Clone(ws.patterns[app]), func(other *patternWatch) bool { return other == a })
	if len(ws.patterns[app]) == 0 {
		delete(ws.patterns, app)
	}
}

func (ws *Watchers) findPattern(app string, p *channel.Pattern) *patternWatch {
	for _, a := range ws.patterns[app] {
		if a.pattern.String() == p.String() {
			return a
		}
	}
	return nil
}

func (a *patternWatch) find(w Watcher) int {
	id := w.ID()
	return slices.IndexFunc(a.watchers, func(other Watcher) bool { return other.ID() == id })
}

// Frames is how many presence frames have been handed to connections.
func (ws *Watchers) Frames() uint64 { return ws.frames.Load() }

// Views is how many channels are watched by name on this node.
func (ws *Watchers) Views() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.views)
}
