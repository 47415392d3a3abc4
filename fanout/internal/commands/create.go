package commands

import (
	"context"
	"slices"

	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
)

// arriving is a command that this node creates, and writes when its message comes: so it
// keeps its place among all that is published to the channel.
type arriving struct {
	*claim
	command command.New
	handed  bool // Redis has said so
}

// Create creates a command (command.Creator). If all peers in the channel are connected to
// this node, and take it at once, Redis hands it to them in the same step.
func (d *Dispatcher) Create(ctx context.Context, n command.New) (command.Created, error) {
	c := d.claimAtCreation(&n)
	if c == nil {
		return d.opt.Store.Create(ctx, n)
	}
	d.mu.Lock()
	d.arriving[n.ID] = &arriving{claim: c, command: n}
	d.mu.Unlock()
	created, err := d.opt.Store.Create(ctx, n)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch a := d.arriving[n.ID]; {
	case a == nil: // its message has come
	case created.Handed:
		a.handed = true
	case err == nil || command.NotCreated(err):
		delete(d.arriving, n.ID)
	}
	return created, err
}

// claimAtCreation names the peers that a new command can be handed to at once; nil: there are
// none, or the command takes the usual way.
func (d *Dispatcher) claimAtCreation(n *command.New) *claim {
	subscriptions := d.lastOf(n.Key.App.ID, n.Channel)
	usual := func(s subscription) bool { return s.confirms || s.Entering() }
	if n.Rollout.PerMinute > 0 || n.Notify != "" || len(subscriptions) == 0 || len(subscriptions) > maxPeers || slices.ContainsFunc(subscriptions, usual) {
		return nil
	}
	d.mu.Lock()
	n.Node = d.identity
	d.mu.Unlock()
	if n.Node == "" {
		return nil
	}
	c := &claim{begun: d.opt.Ticks(), Claim: command.Claim{App: n.Key.App.ID, Channel: n.Channel, ID: n.ID, TTL: n.TTL, Node: n.Node}}
	expires := n.TTL
	if expires == 0 {
		expires = -1
	}
	for i, s := range subscriptions {
		c.add(target{receiver: s.Receiver})
		n.Peers = append(n.Peers, s.Peer())
		c.HandedOver = append(c.HandedOver, command.HandedOver{Peer: i, ID: n.ID, Attempt: 1, ExpiresIn: expires, Timeout: n.Timeout})
	}
	return c
}

// arrived takes the message of a command that Redis handed over as it was created. On other
// nodes there is nothing to do.
func (d *Dispatcher) arrived(delivery *envelope.Delivery) {
	id := delivery.Command.ID
	d.mu.Lock()
	a := d.arriving[id]
	delete(d.arriving, id)
	d.mu.Unlock()
	if a != nil {
		a.delivery = delivery
		d.events.Add(func() { d.claimed(a.claim) })
	}
}

// writeLate writes commands that were handed over and whose messages have not come: the node has
// lost its link to Redis. It forgets old ones of which Redis has not said whether they were.
func (d *Dispatcher) writeLate() {
	now := d.opt.Ticks()
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, a := range d.arriving {
		switch {
		case !a.handed && now >= a.begun+2*tripTime:
		case a.handed && now >= a.begun+patience:
			a.delivery = envelope.CommandDelivery(envelope.Command{ID: id}, &envelope.Message{App: a.App, Channel: a.Channel, From: a.command.From, Data: a.command.Data})
			d.events.Add(func() { d.claimed(a.claim) })
		default:
			continue
		}
		delete(d.arriving, id)
	}
}
