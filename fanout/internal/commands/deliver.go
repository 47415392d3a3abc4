package commands

import (
	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
)

// subscription is a receiver, and whether it confirms.
type subscription struct {
	Receiver
	confirms bool
}

// lastOf returns for each peer that is subscribed to the channel by name the connection
// that has subscribed last.
func (d *Dispatcher) lastOf(app, channel string) []subscription {
	named := d.opt.Subscribers.Named(app, channel)
	last := make([]subscription, 0, len(named))
	from := make([]*hub.Named, 0, len(named))
	var of map[string]int // peer → its place in last; nil for one alone
	if len(named) > 1 {
		of = make(map[string]int, len(named))
	}
	for i := range named {
		n := &named[i]
		r := n.Subscriber.(Receiver)
		if of != nil {
			if at, there := of[r.Peer()]; there {
				if n.Since(from[at]) {
					last[at], from[at] = subscription{r, n.Confirms}, n
				}
				continue
			}
			of[r.Peer()] = len(last)
		}
		last, from = append(last, subscription{r, n.Confirms}), append(from, n)
	}
	return last
}

// created claims a new command for the peers that can have it now.
func (d *Dispatcher) created(delivery *envelope.Delivery) {
	waits := delivery.Command.TTL > 0
	until := d.opt.Ticks() + command.Grace
	var c *claim
	for _, s := range d.lastOf(delivery.App, delivery.Channel) {
		key := lineKey{s.ID(), delivery.Channel}
		l := d.lines[key]
		if l == nil && s.Entering() {
			if waits {
				continue // it comes when the subscription enters
			}
			l = d.newLine(s.Receiver, key, delivery.App, s.confirms)
		}
		if l != nil { // others go first
			if waits {
				l.more = true
			} else {
				l.keep(delivery, until)
			}
			d.advance(l)
			continue
		}
		if s.confirms {
			l = d.newLine(s.Receiver, key, delivery.App, true)
			l.entered, l.busy = true, true
		}
		if c == nil || len(c.targets) == maxPeers {
			c = d.newClaim(delivery)
			d.claims = append(d.claims, c)
		}
		c.add(target{s.Receiver, l})
	}
}

// takenBack claims a command once more that a connection of the peer had not confirmed.
func (d *Dispatcher) takenBack(delivery *envelope.Delivery) {
	for _, s := range d.lastOf(delivery.App, delivery.Channel) {
		if s.Peer() != delivery.Command.Peer || !s.confirms {
			continue
		}
		key := lineKey{s.ID(), delivery.Channel}
		l := d.lines[key]
		if l == nil {
			if s.Entering() {
				continue // it comes when the subscription enters
			}
			l = d.newLine(s.Receiver, key, delivery.App, true)
			l.entered = true
		}
		if l.handed != nil && l.handed.id == delivery.Command.ID {
			d.unhand(l)
		}
		l.more = true
		d.advance(l)
	}
}
