package commands

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
)

const (
	// tripTime bounds a trip to Redis.
	tripTime = 1500 * time.Millisecond
	// lookAgain is how often lines that got no answer ask again, and those that wait for
	// a peer look whether it has confirmed on another node.
	lookAgain = time.Second
	// patience is how long a node waits for another one, on which a peer has subscribed later,
	// to hand it a command. It is told so by a tick: it waits for patience and lookAgain at
	// most, which is less than command.Grace.
	patience = lookAgain / 2
	// maxClaims bounds the claims of one trip.
	maxClaims = 200
	// maxPeers bounds the peers of one claim. Redis is through with them in a millisecond.
	maxPeers = 120
	// maxLooks bounds the channels of one look for what waits.
	maxLooks = 1000
	// maxPortion bounds the waiting commands that are queued for a connection at once.
	maxPortion = 256 << 10
)

// Store keeps the commands: command.Store.
type Store interface {
	Create(ctx context.Context, n command.New) (command.Created, error)
	Claim(ctx context.Context, claims []*command.Claim) error
	Answer(ctx context.Context, answers []*command.Answer) error
	TakeBack(ctx context.Context, node string, all []command.Unconfirmed) (left []command.Unconfirmed, err error)
	AnyWait(ctx context.Context, channels []command.Queue) (wait []bool, errs []error)
	StillHeld(ctx context.Context, node string, all []command.Unconfirmed) []bool
	HandedTo(ctx context.Context, app, id string, peers []string) ([]bool, error)
}

// Subscribers are who is subscribed to what: hub.Hub.
type Subscribers interface {
	Named(app, channel string) []hub.Named
	NamedBy(connection uint64, app, channel string) (hub.Subscriber, bool)
	Channels() []hub.ChannelName
}

// Receiver is a connection's subscription to a channel by name. It is what the hub has
// as its Subscriber.
type Receiver interface {
	ID() uint64 // of the connection
	Peer() string
	// Entering says that the subscription is new, and Enter is yet to be called, or its
	// done.
	Entering() bool
	AppendPortion(*conn.Portion) (flush bool)
	Flush()
}

// Options set a Dispatcher up.
type Options struct {
	Store       Store
	Subscribers Subscribers
	Ticks       func() time.Duration // those of the connections
	Log         *slog.Logger
}

// Dispatcher hands over the commands of one node, once Run runs. It is safe for
// concurrent use.
type Dispatcher struct {
	opt     Options
	answers *answers
	events  *batch.Events // for Run's goroutine

	mu       sync.Mutex
	identity string
	arriving map[string]*arriving // by the id of the command

	unconfirmed atomic.Int64 // len(handed)

	// Owned by Run's goroutine.
	lines        map[lineKey]*line
	ofConnection map[uint64][]*line
	handed       map[handedKey]*line

	// These go to Redis with the next trip.
	looks     []*line
	claims    []*claim
	takeBacks []takeBack
	cancelled []envelope.Delivery
	lookAll   bool
	// everywhere has the channels in which the node has yet to look for waiting commands.
	everywhere []hub.ChannelName
	// Redis did not answer these; they wait for the next tick.
	notTaken []takeBack
	again    []hub.ChannelName // where Redis has not said it; asked at the next tick

	dirty []Receiver // have to be flushed
}

// NewDispatcher returns a Dispatcher.
func NewDispatcher(opt Options) *Dispatcher {
	d := &Dispatcher{
		opt: opt, events: batch.NewEvents(), arriving: map[string]*arriving{},
		lines: map[lineKey]*line{}, ofConnection: map[uint64][]*line{}, handed: map[handedKey]*line{},
	}
	d.answers = newAnswers(opt.Store, d.answered)
	return d
}

// SetIdentity names the identity under which this node holds what is to be confirmed
// (fanout/internal/members).
func (d *Dispatcher) SetIdentity(identity string) {
	d.mu.Lock()
	d.identity = identity
	d.mu.Unlock()
}

// Deliver takes what the receiver brings of a command. It never blocks.
func (d *Dispatcher) Deliver(delivery envelope.Delivery) {
	switch delivery.Command.Stage {
	case envelope.CommandCreated:
		d.events.Add(func() { d.created(&delivery) })
	case envelope.CommandHandedOver:
		d.arrived(&delivery)
	case envelope.CommandTakenBack:
		d.events.Add(func() { d.takenBack(&delivery) })
	case envelope.CommandCancelled:
		d.events.Add(func() { d.cancelled = append(d.cancelled, delivery) })
	}
}

// Enter hands a new subscription what waits for its peer. done is called when that is
// written, or there is nothing, or Redis does not answer; not if the connection ends
// before. It must not block.
func (d *Dispatcher) Enter(r Receiver, app, channel string, confirms bool, done func()) {
	d.events.Add(func() { d.enter(r, lineKey{r.ID(), channel}, app, confirms, done) })
}

// Left says that a connection has ended. Its unconfirmed hand-overs are taken back.
func (d *Dispatcher) Left(connection uint64) {
	d.events.Add(func() { d.left(connection) })
}

// Restored says that deliveries may have been missed.
func (d *Dispatcher) Restored() { d.events.Add(func() { d.lookAll = true }) }

// Answer takes what a peer says of a command, and tells by. It never blocks.
func (d *Dispatcher) Answer(a command.Answer, by Answerer) { d.answers.add(a, by) }

// answered is called when Redis has taken, or refused, an answer.
func (d *Dispatcher) answered(all []*answer) {
	if d.unconfirmed.Load() == 0 {
		return
	}
	d.events.Add(func() {
		for _, a := range all {
			if l := d.handed[handedKey{a.App, a.Peer, a.ID}]; l != nil && a.Err == nil {
				d.free(l)
			}
		}
	})
}

// Run hands over until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) {
	var answers sync.WaitGroup
	answers.Go(func() { d.answers.run(ctx) })
	defer answers.Wait()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.tick(ctx)
		case <-d.events.Signal:
		}
		for d.events.Run() || d.hasWork() {
			if ctx.Err() != nil {
				return
			}
			d.trips(ctx)
		}
	}
}
