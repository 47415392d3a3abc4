package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"fleetwire/clients/go/protocol"
)

const (
	// maxSettled is of how many events one frame tells what became of them.
	maxSettled = 400
	// settleWithin bounds how long the service is not told of events that were handled alone.
	settleWithin = 200 * time.Millisecond
	// retrySettle is the pause before the service is told again what its store did not take.
	retrySettle = time.Second
	// firstNack and lastNack are how long events wait that the handler failed on: the first
	// time, and at most.
	firstNack = time.Second
	lastNack  = 5 * time.Minute
	// leavingGroup bounds how long the service is told that an ingester leaves.
	leavingGroup = 2 * time.Second
)

// An Event is a message that waited for a group of ingesters (protocol §10).
type Event struct {
	Channel string
	From    string          // as in Message
	Data    json.RawMessage // byte for byte as it was published; the handler's to keep
	// SenderMetadata is the sender's peerMetadata; nil: it has none.
	SenderMetadata json.RawMessage
	PublishedAt    time.Time // by the service's clock, to the millisecond
	// Attempt is 1, or more if the event was delivered before: then it may have been
	// handled already, and later ones of its channel, too.
	Attempt int

	// AckID is for REST.Ack. The handler of Client.Group need not know it.
	AckID string
}

// A GroupOption changes how Group takes part in a group.
type GroupOption func(*ingester)

// WithMaxInFlight is how many events the client holds that are not acknowledged, 1 to 1000.
// Not given, it is 100.
func WithMaxInFlight(events int) GroupOption {
	return func(g *ingester) { g.maxInFlight = events }
}

// ingester takes part in a group, over as many connections as it takes.
type ingester struct {
	client      *Client
	name        string
	maxInFlight int
	woken       chan struct{} // has room for one
	leaving     bool          // guarded by Client.mu

	mu      sync.Mutex
	joined  *link // that a subscribe was sent on last
	link    *link // that events came on last
	events  []Event
	refused error
}

// Group takes part in a group of the app's configuration, until ctx or the client ends, or
// the service refuses it: handle gets the events that have come, those of a channel in order,
// and has the next ones when it has returned. With a nil error they are acknowledged, and the
// service deletes them; with another one all of them are delivered again, to this ingester or
// to another, after a pause that grows with each attempt. An event that comes for the third time,
// or more, is handled alone: so one that the handler always fails on becomes a dead letter, and
// those that came with it do not. An event that is not acknowledged within
// the group's ackTimeoutSec comes again, too.
//
// The token must allow subscribe on every pattern of the group. The error says why it is
// over: ctx's, an *Error of the service, or why the client has stopped. Events that handle did
// not get by then are given back. One Client can take part in several groups, in each once.
func (c *Client) Group(ctx context.Context, name string, handle func(context.Context, []Event) error, opts ...GroupOption) error {
	if handle == nil {
		return errors.New("client: Group needs a handler")
	}
	g := &ingester{client: c, name: name, maxInFlight: protocol.DefaultInFlight, woken: make(chan struct{}, 1)}
	for _, o := range opts {
		o(g)
	}
	if g.maxInFlight < 1 || g.maxInFlight > protocol.MaxInFlight {
		return fmt.Errorf("client: group: WithMaxInFlight(%d): it must be 1 to %d events", g.maxInFlight, protocol.MaxInFlight)
	}
	if err := g.begin(); err != nil {
		return fmt.Errorf("client: group %q: %w", name, err)
	}
	defer g.leave()
	var done handled
	for {
		events, l, err := g.next(ctx)
		if err != nil {
			g.settle(done)
			return fmt.Errorf("client: group %q: %w", name, err)
		}
		begun := time.Now()
		failed := handle(ctx, events)
		if failed != nil {
			c.opt.Log.Warn("events of a group are delivered again, since the handler failed", "group", name, "events", len(events), "err", failed)
		}
		done.add(begun, l, events, failed == nil)
		if !g.hasAlone(l) || time.Since(done.since) > settleWithin {
			g.settle(done)
			done = handled{}
		}
	}
}

// handled is what became of events that the service is yet to be told of.
type handled struct {
	link        *link // that they came on
	done, again []Event
	since       time.Time // when the handler got the first
}

func (h *handled) add(begun time.Time, l *link, events []Event, done bool) {
	if h.link != l { // those of the connection before come again
		*h = handled{link: l, since: begun}
	}
	if done {
		h.done = append(h.done, events...)
	} else {
		h.again = append(h.again, events...)
	}
}

func (g *ingester) begin() error {
	c := g.client
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopped != nil:
		return c.stopped
	case c.groups[g.name] != nil:
		return errors.New("the client takes part in it already")
	}
	if c.groups == nil {
		c.groups = map[string]*ingester{}
	}
	c.groups[g.name] = g
	if l := c.link; l != nil {
		go g.join(l)
	}
	return nil
}

// join sends the subscribe on a connection, once.
func (g *ingester) join(l *link) {
	g.mu.Lock()
	before := g.joined
	g.joined = l
	g.mu.Unlock()
	if before == l {
		return
	}
	rest := `,"includeSenderMetadata":true,"maxInFlight":` + strconv.Itoa(g.maxInFlight)
	// An error is the connection's end: the next one has its own.
	_, _ = l.request(l.ctx, frame(protocol.TypeSubscribe, "group", g.name, rest, nil), func(_ ack, err error) {
		var refused *Error
		if errors.As(err, &refused) {
			g.end(refused)
		}
	})
}

// renewGroups has the client take part in its groups on a new connection.
func (c *Client) renewGroups(l *link) {
	c.mu.Lock()
	var all []*ingester
	for _, g := range c.groups {
		if !g.leaving {
			all = append(all, g)
		}
	}
	c.mu.Unlock()
	for _, g := range all {
		g.join(l)
	}
}

func (c *Client) ingester(name string) *ingester {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.groups[name]
}

// grouped takes a message of a group.
func (c *Client) grouped(l *link, f *serverFrame) {
	if g := c.ingester(f.Group); g != nil {
		g.keep(l, Event{
			Channel: f.Channel, From: f.From, Data: f.Data, SenderMetadata: f.FromMetadata,
			PublishedAt: time.UnixMilli(f.PublishedAt), Attempt: int(f.Attempt), AckID: f.AckID,
		})
	}
}

// keep keeps an event until the handler is free.
func (g *ingester) keep(l *link, e Event) {
	g.mu.Lock()
	if g.link != l { // those of the connection before come again
		g.link, g.events = l, nil
	}
	g.events = append(g.events, e)
	g.mu.Unlock()
	g.wake()
}

// end has Group return, since the service refuses it.
func (g *ingester) end(refused error) {
	g.mu.Lock()
	g.refused = refused
	g.mu.Unlock()
	g.wake()
}

func (g *ingester) wake() {
	select {
	case g.woken <- struct{}{}:
	default:
	}
}

// next waits for events, and returns all that are there, with the connection that they came on.
func (g *ingester) next(ctx context.Context) ([]Event, *link, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		events, l, err := g.take(atOnce)
		if len(events) > 0 || err != nil {
			return events, l, err
		}
		select {
		case <-g.woken:
		case <-ctx.Done():
		case <-g.client.away:
			return nil, nil, g.client.Err()
		}
	}
}

// alone is from which attempt on the handler gets an event alone: it may be the one on which the
// handler failed, and the others must not become dead letters with it.
const alone = 3

// hasAlone tells whether the next event is one that is handled alone. Many of these take no longer
// than it takes to handle them: the service is told of them together.
func (g *ingester) hasAlone(l *link) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.link == l && len(g.events) > 0 && g.events[0].Attempt >= alone
}

// atOnce is how many of the events the handler gets at once.
func atOnce(events []Event) int {
	switch n := slices.IndexFunc(events, func(e Event) bool { return e.Attempt >= alone }); n {
	case -1:
		return len(events)
	case 0:
		return 1
	default:
		return n
	}
}

// take takes as many of the events that are there as some says. Those of a connection that has
// ended come again.
func (g *ingester) take(some func([]Event) int) ([]Event, *link, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := some(g.events)
	events := g.events[:n:n]
	g.events = g.events[n:]
	if g.refused != nil || g.link == nil || g.link.ctx.Err() != nil {
		events = nil
	}
	return events, g.link, g.refused
}

// settle tells the service what became of events, unless their connection has ended.
func (g *ingester) settle(h handled) {
	for some := range slices.Chunk(h.done, maxSettled) {
		g.tell(g.client.ctx, h.link, groupAck(some, true))
	}
	for some := range slices.Chunk(h.again, maxSettled) {
		g.tell(g.client.ctx, h.link, groupAck(some, false))
	}
}

// tell sends a frame until the service has taken or refused it, or the connection ends.
func (g *ingester) tell(ctx context.Context, l *link, frame []byte) {
	for {
		_, err := g.client.ask(ctx, l, frame)
		if CodeOf(err) != protocol.BackendError && CodeOf(err) != protocol.InternalError {
			return
		}
		if pause(l.ctx, retrySettle); l.ctx.Err() != nil || ctx.Err() != nil {
			return
		}
	}
}

// groupAck makes the frame that says what became of events.
func groupAck(events []Event, done bool) []byte {
	b := append([]byte(`{"type":"`), protocol.TypeGroupAck.String()...)
	if done {
		b = append(b, `","ackIds":[`...)
	} else {
		b = append(b, `","nack":[`...)
	}
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		if done {
			b = protocol.AppendString(b, e.AckID)
			continue
		}
		b = protocol.AppendString(append(b, `{"ackId":`...), e.AckID)
		b = strconv.AppendInt(append(b, `,"delayMs":`...), nackDelay(e.Attempt).Milliseconds(), 10)
		b = append(b, '}')
	}
	return append(b, ']')
}

// nackDelay is how long an event waits that the handler failed on. 0 attempts: it did not get it.
func nackDelay(attempt int) time.Duration {
	if attempt == 0 {
		return 0
	}
	return min(lastNack, firstNack<<min(attempt-1, 20))
}

// leave ends the part in the group, and gives back what the handler did not get.
func (g *ingester) leave() {
	c := g.client
	c.mu.Lock()
	g.leaving = true
	l := c.link
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.groups, g.name)
		c.mu.Unlock()
	}()
	g.mu.Lock()
	refused := g.refused != nil
	g.mu.Unlock()
	if l == nil || refused {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, leavingGroup)
	defer cancel()
	_, _ = c.ask(ctx, l, frame(protocol.TypeUnsubscribe, "group", g.name, "", nil))
	events, from, _ := g.take(func(all []Event) int { return len(all) })
	for i := range events {
		events[i].Attempt = 0
	}
	for some := range slices.Chunk(events, maxSettled) {
		g.tell(ctx, from, groupAck(some, false))
	}
}
