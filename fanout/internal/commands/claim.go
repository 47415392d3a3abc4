package commands

import (
	"errors"
	"slices"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
)

// claim is a claim on its way.
type claim struct {
	command.Claim
	delivery *envelope.Delivery // nil: of what waits
	targets  []target           // for whom, in the order of Peers
	begun    time.Duration      // Ticks, before the trip
}

// target is whom a command is claimed for.
type target struct {
	receiver Receiver
	line     *line // nil: there is nothing to remember
}

func (d *Dispatcher) newClaim(delivery *envelope.Delivery) *claim {
	return &claim{delivery: delivery, Claim: command.Claim{
		App: delivery.App, Channel: delivery.Channel, ID: delivery.Command.ID, TTL: delivery.Command.TTL,
	}}
}

func (c *claim) add(t target) {
	c.targets = append(c.targets, t)
	confirms := t.line != nil && t.line.confirms
	c.Peers = append(c.Peers, command.Claimant{Peer: t.receiver.Peer(), Confirms: confirms})
}

// claimLive claims one command for one line.
func (d *Dispatcher) claimLive(l *line, delivery *envelope.Delivery) {
	c := d.newClaim(delivery)
	c.add(target{l.receiver, l})
	c.Anyhow = l.takesAnyhow(d.opt.Ticks())
	d.claims = append(d.claims, c)
}

// claimWaiting claims what waits for a line: as much as the connection takes at once, or
// one command if it has to be confirmed.
func (d *Dispatcher) claimWaiting(l *line) {
	l.more = false
	c := &claim{Claim: command.Claim{App: l.app, Channel: l.channel, MaxBytes: maxPortion}}
	c.add(target{l.receiver, l})
	if l.confirms {
		c.Most = 1
	}
	c.Anyhow = l.takesAnyhow(d.opt.Ticks())
	d.claims = append(d.claims, c)
}

// claimed hands over what was claimed.
func (d *Dispatcher) claimed(c *claim) {
	if c.Err != nil {
		d.notClaimed(c)
		return
	}
	if c.delivery == nil {
		c.targets[0].line.more = c.targets[0].line.more || c.More
	}
	var frames frames
	portions := make([]*conn.Portion, len(c.targets))
	fates := make([]fate, len(c.targets))
	for i := range c.targets {
		fates[i] = d.fateOf(&c.targets[i], c)
	}
	for i := range c.HandedOver {
		h := &c.HandedOver[i]
		t := &c.targets[h.Peer]
		if t.line != nil && t.line.confirms {
			if t.line.left || fates[h.Peer] == ended {
				d.takeBacks = append(d.takeBacks, takeBack{c.Node, command.Unconfirmed{App: c.App, ID: h.ID, Peer: t.receiver.Peer()}})
				continue
			}
			d.hand(t.line, h.ID, c.Node)
		}
		if portions[h.Peer] == nil {
			portions[h.Peer] = &conn.Portion{}
		}
		frame := frames.of(h, c.delivery, d.opt.Ticks()-c.begun)
		until := time.Duration(0)
		if h.ExpiresIn >= 0 {
			until = max(1, c.begun+h.ExpiresIn)
		}
		portions[h.Peer].Frames = append(portions[h.Peer].Frames, conn.Perishable{Frame: frame, Until: until})
	}
	for i := range c.targets {
		if slices.Contains(c.Elsewhere, i) {
			d.askAgain(c, &c.targets[i]).anyhow = c.begun + patience
			continue
		}
		switch fates[i] {
		case stands:
			d.write(&c.targets[i], portions[i])
		case renewed:
			d.keep(&c.targets[i], c, portions[i])
		case ended: // no message comes behind the ack of an unsubscribe
			d.write(&c.targets[i], nil)
		}
	}
}

// fate is what became of a target's subscription while its claim was on its way.
type fate uint8

const (
	stands  fate = iota
	renewed      // the connection has subscribed once more, and is yet to be sent the ack of that
	ended        // it is not subscribed
)

func (d *Dispatcher) fateOf(t *target, c *claim) fate {
	key := lineKey{t.receiver.ID(), c.Channel}
	s, subscribed := d.opt.Subscribers.NamedBy(key.connection, c.App, c.Channel)
	if !subscribed {
		return ended
	}
	now := s.(Receiver)
	if now == t.receiver || !now.Entering() {
		return stands
	}
	if l := d.lines[key]; l != nil && l.entered && l.receiver == now {
		return stands
	}
	return renewed
}

// keep keeps what a target was handed until the connection's new subscription enters.
func (d *Dispatcher) keep(t *target, c *claim, p *conn.Portion) {
	if p == nil {
		d.write(t, nil)
		return
	}
	l := t.line
	if l == nil {
		l = d.lineOf(t.receiver, c)
	} else {
		l.busy = false
	}
	l.kept = append(l.kept, p.Frames...)
	d.advance(l)
}

// lineOf returns the line of a subscription that is not new.
func (d *Dispatcher) lineOf(r Receiver, c *claim) *line {
	key := lineKey{r.ID(), c.Channel}
	l := d.lines[key]
	if l == nil {
		l = d.newLine(r, key, c.App, false)
		l.entered = true
	}
	return l
}

// write queues what a target was handed, which may be nothing.
func (d *Dispatcher) write(t *target, p *conn.Portion) {
	l := t.line
	if l != nil && (p == nil || l.left) {
		l.busy = false
		d.advance(l)
		return
	}
	if p == nil {
		return
	}
	if l != nil {
		p.Written = func(all bool) { d.events.Add(func() { d.written(l, all) }) }
	}
	if t.receiver.AppendPortion(p) {
		d.dirty = append(d.dirty, t.receiver)
	}
}

// written goes on with a line when the connection has taken what it was handed.
func (d *Dispatcher) written(l *line, all bool) {
	if !all {
		return // the connection ends: Left follows
	}
	l.busy = false
	d.advance(l)
}

// notClaimed has the targets ask again, if that can help.
func (d *Dispatcher) notClaimed(c *claim) {
	if errors.Is(c.Err, command.ErrNotFound) {
		for _, t := range c.targets {
			d.write(&t, nil)
		}
		return
	}
	d.opt.Log.Warn("commands could not be claimed, the node tries again", "app", c.App, "channel", c.Channel, "err", c.Err)
	for i := range c.targets {
		d.askAgain(c, &c.targets[i])
	}
}

// askAgain has a target ask again at a later tick.
func (d *Dispatcher) askAgain(c *claim, t *target) *line {
	l := t.line
	if l == nil {
		l = d.lineOf(t.receiver, c)
	}
	if c.delivery == nil || c.TTL > 0 {
		l.more = true
	} else {
		l.keep(c.delivery, c.begun+command.Grace)
	}
	if t.line != nil || !l.busy {
		l.failed()
	}
	return l
}

// frames makes the frames of commands, those that are the same once.
type frames struct {
	last  frameKey
	frame []byte
}

type frameKey struct {
	ref      protocol.CommandRef
	delivery *envelope.Delivery
}

func (f *frames) of(h *command.HandedOver, delivery *envelope.Delivery, elapsed time.Duration) []byte {
	if delivery == nil {
		delivery = h.Delivery
	}
	key := frameKey{protocol.CommandRef{ID: h.ID, Attempt: h.Attempt, ExpiresInMs: -1, TimeoutMs: h.Timeout.Milliseconds()}, delivery}
	if h.ExpiresIn >= 0 {
		key.ref.ExpiresInMs = max(0, h.ExpiresIn-elapsed).Milliseconds()
	}
	if f.frame == nil || f.last != key {
		f.last, f.frame = key, delivery.CommandFrame(key.ref)
	}
	return f.frame
}
