package ingest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"fleetwire/fanout/internal/conn"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/group"
)

// Store leases messages to ingesters: group.Service.
type Store interface {
	Wait(ctx context.Context, p group.Pull, key string, most time.Duration) ([]group.Message, error)
	Ack(ctx context.Context, app *apps.App, g *apps.Group, ackIDs []string, nacks []group.Nack) ([]bool, error)
}

// Connection is what an Ingester needs of a connection.
type Connection interface {
	ID() uint64
	Peer() string
	App() *apps.App // as the document in force has it
	AppendPortion(*conn.Portion) (flush bool)
	Flush()
}

// Ingesters are the connections of a node that are subscribed to groups.
type Ingesters struct {
	store   Store
	node    string
	running sync.WaitGroup
}

// NewIngesters returns the Ingesters of a node, which must be closed.
func NewIngesters(store Store, node string) *Ingesters {
	return &Ingesters{store: store, node: node}
}

// Close waits until what connections held is given back. All must have left.
func (all *Ingesters) Close() { all.running.Wait() }

// Ingester is a connection with its subscriptions to groups, and the messages that it holds.
// It is safe for concurrent use.
type Ingester struct {
	all        *Ingesters
	connection Connection
	consumer   string         // how Redis knows it
	running    sync.WaitGroup // deliveries and acknowledgements under way

	mu            sync.Mutex
	left          bool
	subscriptions map[string]*subscription // by group
	leased        map[string]*lease        // by ackId: what the peer holds
	acks          []*acknowledging         // that wait
	ackBytes      int                      // that those take
	acknowledges  bool                     // acknowledge runs
}

// lease is a message that a peer holds.
type lease struct {
	ackID string
	of    *subscription
	until time.Time // when it is free for others
	over  bool      // the peer does not hold it any more
}

// New makes an Ingester of a connection, which must leave.
func (all *Ingesters) New(c Connection) *Ingester {
	return &Ingester{
		all: all, connection: c, consumer: fmt.Sprintf("%s#%s-%d", c.Peer(), all.node, c.ID()),
		subscriptions: map[string]*subscription{}, leased: map[string]*lease{},
	}
}

// Subscribe has the peer sent messages of a group, from now on: up to maxInFlight that it has
// not acknowledged. If it is subscribed already, that changes.
func (i *Ingester) Subscribe(group string, maxInFlight int, metadata bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.left {
		return
	}
	if s := i.subscriptions[group]; s != nil {
		s.maxInFlight, s.metadata = maxInFlight, metadata
		s.freed.Set()
		s.changed()
		return
	}
	s := newSubscription(i, group, maxInFlight, metadata)
	s.inherit()
	i.subscriptions[group] = s
	i.running.Go(s.run)
}

// Unsubscribe ends a subscription. done is called when no message of it follows; the peer can
// still acknowledge those that it has. It is not called if the peer is not subscribed.
func (i *Ingester) Unsubscribe(group string, done func()) (subscribed bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.subscriptions[group]
	if s == nil {
		return false
	}
	delete(i.subscriptions, group)
	s.end(done)
	return true
}

// Groups are those that the peer is subscribed to.
func (i *Ingester) Groups() (names []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for name := range i.subscriptions {
		names = append(names, name)
	}
	return names
}

// DocumentChanged has the subscriptions go by the newest document of apps.
func (i *Ingester) DocumentChanged() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range i.subscriptions {
		s.changed()
	}
}

// Leave ends all, as the connection does, and gives back what the peer holds. It does not
// block.
func (i *Ingester) Leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.left {
		return
	}
	i.left = true
	for _, s := range i.subscriptions {
		s.end(func() {})
	}
	clear(i.subscriptions)
	i.all.running.Go(func() {
		i.running.Wait()
		i.giveBack()
	})
}

// giveBack has others get what the peer holds. If Redis does not answer, they get it when the
// leases end.
func (i *Ingester) giveBack() {
	i.mu.Lock()
	of := map[string][]group.Nack{}
	for id, l := range i.leased {
		of[l.of.group] = append(of[l.of.group], group.Nack{AckID: id})
	}
	i.mu.Unlock()
	for name, nacks := range of {
		i.refuse(name, nacks)
	}
}

// refuse gives messages back that the peer was not sent, or did not acknowledge.
func (i *Ingester) refuse(name string, nacks []group.Nack) {
	app := i.connection.App()
	g := app.Group(name)
	if g == nil {
		return // nobody can get them
	}
	ctx, cancel := context.WithTimeout(context.Background(), tripTime)
	defer cancel()
	_, _ = i.all.store.Ack(ctx, app, g, nil, nacks)
}
