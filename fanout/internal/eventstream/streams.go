package eventstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/events"
)

const (
	// lease is how long nodes tell a stream that they do not hear of, and renewal how often they do.
	lease   = 10 * time.Second
	renewal = 3 * time.Second
	// lasts is how long a stream lasts.
	lasts = 10 * time.Minute
	// beginLimit bounds how long it takes until all nodes watch.
	beginLimit = 3 * time.Second
	// endLimit bounds how long it takes to tell them that the stream has ended.
	endLimit = 2 * time.Second
	// maxHeard bounds what a stream has heard and not looked at, and maxUnread what it has for a reader
	// that is slow. Beyond them events are dropped, and counted.
	maxHeard  = 256
	maxUnread = 128
)

// Why a stream ends, as its last event says.
const (
	endTimeLimit  = "time_limit"
	endGoingAway  = "going_away"
	endKeyRevoked = "key_revoked"
)

// Hub is where streams hear: hub.Hub.
type Hub interface {
	AddPeer(s hub.Subscriber, app, peer string, done func(error)) error
	RemovePeer(s hub.Subscriber, app, peer string)
	SubscribePattern(s hub.Subscriber, app string, p *channel.Pattern, metadata bool, done func(error)) error
	UnsubscribePattern(s hub.Subscriber, app string, p *channel.Pattern)
}

// StreamsOptions set Streams up.
type StreamsOptions struct {
	Hub  Hub
	Apps *apps.Store
	// Order has all nodes do what a watch says (orders.Sender.Watch).
	Order func(ctx context.Context, app string, watch []byte) error
	Now   func() time.Time
	Log   *slog.Logger
}

// Streams are the streams that this node serves. It is safe for concurrent use.
type Streams struct {
	opt     StreamsOptions
	last    atomic.Uint64 // stream's number
	leaving chan struct{} // closed when the node drains
	leave   sync.Once

	mu   sync.Mutex
	open map[string]int // by key id
}

// NewStreams returns Streams.
func NewStreams(opt StreamsOptions) *Streams {
	return &Streams{opt: opt, leaving: make(chan struct{}), open: map[string]int{}}
}

// Drain ends all streams: the node goes away.
func (s *Streams) Drain() { s.leave.Do(func() { close(s.leaving) }) }

// Open begins a stream for a key, and returns its events. The channel is closed behind the last, or when ctx
// ends. When Open returns, all nodes that answer tell what is asked for. The error is events.ErrTooMany,
// events.ErrGoingAway, or that Redis does not answer.
func (s *Streams) Open(ctx context.Context, key *apps.Key, r events.Request) (<-chan events.Event, error) {
	s.mu.Lock()
	if s.open[key.ID] >= events.MaxStreams {
		s.mu.Unlock()
		return nil, events.ErrTooMany
	}
	s.open[key.ID]++
	s.mu.Unlock()
	st := &stream{
		Streams: s, key: key, request: r, rate: bucket{tokens: events.PerSecond},
		watch: events.Watch{Stream: system + "/events/" + rand.Text(), Peer: r.Peer, Types: r.Types},
		heard: heard{id: 1<<63 | s.last.Add(1), frames: make(chan []byte, maxHeard)}, out: make(chan events.Event, maxUnread),
	}
	if err := st.begin(ctx); err != nil {
		st.close()
		return nil, err
	}
	go st.run(ctx)
	return st.out, nil
}

// stream is one stream.
type stream struct {
	*Streams
	key     *apps.Key
	request events.Request
	watch   events.Watch
	heard   heard
	out     chan events.Event

	// Owned by run.
	rate    bucket
	dropped uint64
}

// begin has the stream hear, and the nodes tell.
func (st *stream) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beginLimit)
	defer cancel()
	live, waits := make(chan error, 2), 0
	app := st.key.App.ID
	if len(st.request.Types) > 0 {
		if err := st.opt.Hub.AddPeer(&st.heard, app, st.watch.Stream, func(err error) { live <- err }); err != nil {
			return err
		}
		waits++
	}
	if p := st.request.Pattern; p != nil {
		if err := st.opt.Hub.SubscribePattern(&st.heard, app, p, true, func(err error) { live <- err }); err != nil {
			return err
		}
		waits++
	}
	for range waits {
		select {
		case err := <-live:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-st.leaving:
			return events.ErrGoingAway
		}
	}
	return st.order(ctx, lease)
}

// order has all nodes tell for so long; 0: no more.
func (st *stream) order(ctx context.Context, lease time.Duration) error {
	if len(st.request.Types) == 0 {
		return nil
	}
	w := st.watch
	w.LeaseMs = lease.Milliseconds()
	text, _ := json.Marshal(w) // never fails: it holds text and a number
	return st.opt.Order(ctx, st.key.App.ID, text)
}

// run hands on what the stream hears, until it ends.
func (st *stream) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { st.renew(ctx) })
	why := st.follow(ctx)
	cancel()
	renewing.Wait()
	if why != "" {
		st.end(events.Event{Type: events.End, At: st.opt.Now().UnixMilli(), Reason: why})
	}
	close(st.out)
	st.close()
}

// end has the last event read, also by a slow reader: what is before it may go.
func (st *stream) end(last events.Event) {
	for {
		select {
		case st.out <- last:
			return
		default:
		}
		select {
		case <-st.out:
		default:
		}
	}
}

// close gives up what the stream has.
func (st *stream) close() {
	app := st.key.App.ID
	st.opt.Hub.RemovePeer(&st.heard, app, st.watch.Stream)
	if p := st.request.Pattern; p != nil {
		st.opt.Hub.UnsubscribePattern(&st.heard, app, p)
	}
	st.mu.Lock()
	if st.open[st.key.ID]--; st.open[st.key.ID] == 0 {
		delete(st.open, st.key.ID)
	}
	st.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	_ = st.order(ctx, 0) // else the lease ends
}

// renew has the nodes go on telling, also those that have begun since.
func (st *stream) renew(ctx context.Context) {
	due := time.NewTicker(renewal)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
		if err := st.order(ctx, lease); err != nil && ctx.Err() == nil {
			st.opt.Log.Warn("nodes could not be asked to tell a stream of events; what happens there is missing", "app", st.key.App.ID, "err", err)
		}
	}
}

// follow returns why the stream ends; "": the reader is gone.
func (st *stream) follow(ctx context.Context) (why string) {
	limit := time.NewTimer(lasts)
	defer limit.Stop()
	second := time.NewTicker(sampledEvery)
	defer second.Stop()
	for {
		replaced := st.opt.Apps.Replaced()
		if !st.allowed() {
			return endKeyRevoked
		}
		select {
		case <-ctx.Done():
			return ""
		case <-limit.C:
			return endTimeLimit
		case <-st.leaving:
			return endGoingAway
		case <-replaced:
		case <-second.C:
			st.tellDropped()
		case frames := <-st.heard.frames:
			for body := range bodies(frames) {
				st.hear(body)
			}
		}
	}
}

// allowed says whether the document in force still lets the key have the stream.
func (st *stream) allowed() bool {
	key, ok := st.opt.Apps.Current().Key(st.key.ID)
	return ok && (key == st.key || key.App.ID == st.key.App.ID && key.Secret == st.key.Secret && !key.App.Suspended && st.request.Allowed(key))
}

// hear hands on what a frame says: a message, or an event that a node tells.
func (st *stream) hear(body []byte) {
	var f struct {
		Type, Channel, From string
		FromMetadata, Data  json.RawMessage
		Offset              uint64
	}
	if json.Unmarshal(body, &f) != nil {
		return
	}
	var e events.Event
	switch {
	case f.Type == "message":
		e = events.Event{Type: events.Message, At: st.opt.Now().UnixMilli(), Channel: f.Channel, From: f.From, Metadata: f.FromMetadata, Data: f.Data, Offset: f.Offset}
	case f.Type != "direct" || f.From != system || json.Unmarshal(f.Data, &e) != nil:
		return
	case e.Type == events.Sampled:
		st.dropped += e.Dropped
		return
	}
	if !st.rate.take(st.opt.Now(), events.PerSecond) {
		st.dropped++
		return
	}
	st.hand(e)
}

// hand gives an event to the reader, without what its key may not see.
func (st *stream) hand(e events.Event) {
	if !auth.WatchesConnectivity(st.key) {
		e.Node, e.Address, e.UserAgent = "", "", ""
	}
	if signer, ok := st.opt.Apps.Current().Key(e.Key); ok {
		e.Key = auth.ShownID(signer, st.key)
	}
	select {
	case st.out <- e:
	default:
		st.dropped++
	}
}

func (st *stream) tellDropped() {
	if st.dropped += st.heard.dropped.Swap(0); st.dropped == 0 {
		return
	}
	select {
	case st.out <- events.Event{Type: events.Sampled, At: st.opt.Now().UnixMilli(), Dropped: st.dropped}:
		st.dropped = 0
	default:
	}
}
