// Package eventstream tells, while somebody looks, what happens to the peers of an app (protocol §5,
// GET /v1/events). A Teller is one node's: it knows what is watched, and publishes events to the
// streams that watch. Streams are those that this node serves.
//
// While nothing is watched, an event costs one atomic load.
package eventstream

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/events"
	"fleetwire/pkg/rediskeys"
)

const (
	// maxQueued bounds the events that wait for Redis; beyond it they are dropped, and counted.
	maxQueued = 1024
	// maxWatches bounds the watches of a node, of all apps.
	maxWatches = 10_000
	// publishLimit bounds how long Redis may take for an event.
	publishLimit = time.Second
	// sampledEvery is how often a stream is told how many events were left out.
	sampledEvery = time.Second
	// system is whom the messages to streams are from. No peer has this id.
	system = "_system"
)

// Options set a Teller up.
type Options struct {
	Keys rediskeys.Namespace
	Node string
	// Process is a random number that names the Teller as a publisher.
	Process uint64
	// Publish publishes a message to a topic.
	Publish func(ctx context.Context, topic string, payload []byte) error
	Now     func() time.Time
	Log     *slog.Logger
}

// Teller is safe for concurrent use.
type Teller struct {
	opt      Options
	table    atomic.Pointer[table] // nil: nothing is watched
	frames   atomic.Bool           // frames of a peer are watched
	sequence atomic.Uint64
	queue    chan queued

	mu      sync.Mutex
	watches map[string]*watch // by stream
}

// table is the watches of each app. It is not changed once made.
type table map[string][]*watch

type watch struct {
	events.Watch
	app   string
	until time.Time // t.mu guards it
	stop  *time.Timer

	mu      sync.Mutex
	rate    bucket
	dropped uint64
	telling bool // a timer will tell how many were dropped
}

// queued is an event for a stream.
type queued struct {
	watch *watch
	event events.Event
}

// NewTeller returns a Teller. It has to Run.
func NewTeller(opt Options) *Teller {
	return &Teller{opt: opt, queue: make(chan queued, maxQueued), watches: map[string]*watch{}}
}

// Watch begins, goes on with or ends what a stream watches: text is an events.Watch in JSON. It is what
// orders ask for.
func (t *Teller) Watch(app string, text []byte) (answer []byte) {
	var w events.Watch
	if err := json.Unmarshal(text, &w); err != nil {
		t.opt.Log.Warn("an order to watch could not be read", "err", err)
		return []byte("{}")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.watches[w.Stream]; old != nil {
		if w.LeaseMs > 0 { // it goes on
			old.last(w.LeaseMs)
			return []byte("{}")
		}
		old.stop.Stop()
		delete(t.watches, w.Stream)
	} else if w.LeaseMs > 0 && len(t.watches) < maxWatches {
		begun := &watch{Watch: w, app: app, rate: bucket{tokens: events.PerSecond}}
		begun.stop = time.AfterFunc(time.Hour, func() { t.end(begun) })
		begun.last(w.LeaseMs)
		t.watches[w.Stream] = begun
	}
	t.rebuild()
	return []byte("{}")
}

// last has the watch last for so many milliseconds from now.
func (w *watch) last(ms int64) {
	lease := time.Duration(ms) * time.Millisecond
	w.until = time.Now().Add(lease)
	w.stop.Reset(lease)
}

// end ends a watch whose lease has ended.
func (t *Teller) end(w *watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watches[w.Stream] == w && !time.Now().Before(w.until) {
		delete(t.watches, w.Stream)
		t.rebuild()
	}
}

// rebuild is called with t.mu held.
func (t *Teller) rebuild() {
	if len(t.watches) == 0 {
		t.table.Store(nil)
		t.frames.Store(false)
		return
	}
	next, frames := table{}, false
	for _, w := range t.watches {
		next[w.app] = append(next[w.app], w)
		frames = frames || slices.Contains(w.Types, events.Frame)
	}
	t.table.Store(&next)
	t.frames.Store(frames)
}

// Watched says whether anything is watched: callers need not make events else.
func (t *Teller) Watched() bool { return t.table.Load() != nil }

// Connection is the id of a connection of this node, as GET /v1/peers/{peer} has it.
func (t *Teller) Connection(id uint64) string {
	return t.opt.Node + "-" + strconv.FormatUint(id, 36)
}

// Tell tells of an event those who watch the app, and the event's peer. build builds it, at most once, and
// only if somebody watches. It does not block.
func (t *Teller) Tell(app, peer string, kind events.Type, build func() events.Event) {
	all := t.table.Load()
	if all == nil {
		return
	}
	var e events.Event
	for _, w := range (*all)[app] {
		if !w.Wants(kind, peer) || !t.allow(w) {
			continue
		}
		if e.Type == "" {
			e = build()
			e.Type, e.At, e.Node, e.PeerID = kind, t.opt.Now().UnixMilli(), t.opt.Node, strings.Clone(peer)
		}
		select {
		case t.queue <- queued{w, e}:
		default:
			t.drop(w)
		}
	}
}

// allow says whether a watch may be told one more event now.
func (t *Teller) allow(w *watch) bool {
	w.mu.Lock()
	ok := w.rate.take(t.opt.Now(), events.PerSecond)
	w.mu.Unlock()
	if !ok {
		t.drop(w)
	}
	return ok
}

// drop counts an event that is left out, and has the watch told within a second.
func (t *Teller) drop(w *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropped++
	if w.telling {
		return
	}
	w.telling = true
	time.AfterFunc(sampledEvery, func() { t.tellDropped(w) })
}

// tellDropped tells a watch how many events were left out.
func (t *Teller) tellDropped(w *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case t.queue <- queued{w, events.Event{Type: events.Sampled, At: t.opt.Now().UnixMilli(), Node: t.opt.Node, Dropped: w.dropped}}:
		w.dropped, w.telling = 0, false
	default:
		time.AfterFunc(sampledEvery, func() { t.tellDropped(w) })
	}
}

// Run publishes events until ctx ends.
func (t *Teller) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case one := <-t.queue:
			t.publish(ctx, one)
		}
	}
}

// publish publishes an event. If Redis does not take it, it is lost, and counted.
func (t *Teller) publish(ctx context.Context, one queued) {
	text, err := json.Marshal(one.event)
	if err != nil {
		t.opt.Log.Error("an event could not be encoded", "type", one.event.Type, "err", err)
		return
	}
	payload := envelope.Encode(envelope.ID{Process: t.opt.Process, Sequence: t.sequence.Add(1)}, &envelope.Message{
		App: one.watch.app, To: one.watch.Stream, From: system, Data: text,
	})
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	if err := t.opt.Publish(ctx, t.opt.Keys.Topic(envelope.KindPeer, one.watch.app, one.watch.Stream), payload); err != nil && one.event.Type != events.Sampled {
		t.drop(one.watch)
	}
}

// bucket is a token bucket that holds what comes in a second.
type bucket struct {
	tokens float64
	last   time.Time
}

func (b *bucket) take(now time.Time, perSecond float64) bool {
	if !b.last.IsZero() {
		b.tokens = min(perSecond, b.tokens+max(0, now.Sub(b.last).Seconds())*perSecond)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
