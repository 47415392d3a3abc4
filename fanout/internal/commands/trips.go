package commands

import (
	"cmp"
	"context"
	"slices"

	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
)

// takeBack is a hand-over that has to be taken back.
type takeBack struct {
	node string
	command.Unconfirmed
}

func (d *Dispatcher) hasWork() bool {
	return len(d.looks)+len(d.claims)+len(d.takeBacks)+len(d.cancelled) > 0 || d.lookAll || len(d.everywhere) > 0
}

// trips asks Redis for some of what there is to ask.
func (d *Dispatcher) trips(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tripTime)
	defer cancel()
	if len(d.takeBacks) > 0 {
		d.takeAllBack(ctx)
	}
	if d.lookAll {
		d.lookAll, d.again, d.everywhere = false, nil, d.opt.Subscribers.Channels()
	}
	if some := batch.Take(&d.everywhere, maxLooks); len(some) > 0 {
		d.lookIn(ctx, some)
	}
	if looks := batch.Take(&d.looks, maxLooks); len(looks) > 0 {
		d.lookFor(ctx, looks)
	}
	if claims := batch.Take(&d.claims, maxClaims); len(claims) > 0 {
		d.claimAll(ctx, claims)
	}
	for _, delivery := range batch.Take(&d.cancelled, maxClaims) {
		d.tellCancelled(ctx, delivery)
	}
	for i, r := range d.dirty {
		r.Flush()
		d.dirty[i] = nil
	}
	d.dirty = d.dirty[:0]
}

// claimAll makes one trip for claims.
func (d *Dispatcher) claimAll(ctx context.Context, claims []*claim) {
	d.mu.Lock()
	identity := d.identity
	d.mu.Unlock()
	all := make([]*command.Claim, len(claims))
	for i, c := range claims {
		c.Node, c.begun = identity, d.opt.Ticks()
		all[i] = &c.Claim
	}
	_ = d.opt.Store.Claim(ctx, all) // each has its own
	for _, c := range claims {
		d.claimed(c)
	}
}

// lookFor finds out for which lines commands wait.
func (d *Dispatcher) lookFor(ctx context.Context, lines []*line) {
	queues := make([]command.Queue, len(lines))
	for i, l := range lines {
		queues[i] = command.Queue{App: l.app, Channel: l.channel}
	}
	wait, errs := d.opt.Store.AnyWait(ctx, queues)
	if err := cmp.Or(errs...); err != nil {
		d.opt.Log.Warn("the node does not know whether commands wait for new subscribers, it tries again", "err", err)
	}
	for i, l := range lines {
		if errs != nil && errs[i] != nil {
			l.failed()
			continue
		}
		l.look, l.busy = false, false
		l.more = l.more || wait[i]
		d.advance(l)
	}
}

// lookIn has the subscribers of channels claim what waits for them. Where Redis does not say,
// it is asked again at the next tick.
func (d *Dispatcher) lookIn(ctx context.Context, channels []hub.ChannelName) {
	queues := make([]command.Queue, len(channels))
	for i, c := range channels {
		queues[i] = command.Queue{App: c.App, Channel: c.Name}
	}
	wait, errs := d.opt.Store.AnyWait(ctx, queues)
	if err := cmp.Or(errs...); err != nil {
		d.opt.Log.Warn("the node does not know whether commands wait for its subscribers, it tries again", "err", err)
	}
	if errs != nil && !slices.Contains(errs, nil) { // nor will it say the rest
		d.everywhere, d.again = nil, append(append(d.again, channels...), d.everywhere...)
		return
	}
	for i, c := range channels {
		switch {
		case errs != nil && errs[i] != nil:
			d.again = append(d.again, c)
		case wait[i]:
			d.haveClaim(c.App, c.Name)
		}
	}
}

// haveClaim has the subscribers of a channel claim what waits for them.
func (d *Dispatcher) haveClaim(app, channel string) {
	for _, s := range d.lastOf(app, channel) {
		key := lineKey{s.ID(), channel}
		l := d.lines[key]
		if l == nil {
			if s.Entering() {
				continue // it looks for itself
			}
			l = d.newLine(s.Receiver, key, app, s.confirms)
			l.entered = true
		}
		l.more = true
		d.advance(l)
	}
}

// takeAllBack takes back the unconfirmed hand-overs of connections that have ended. It
// tries those again that Redis does not take, until the lease of the identity ends.
func (d *Dispatcher) takeAllBack(ctx context.Context) {
	of := map[string][]command.Unconfirmed{}
	for _, t := range d.takeBacks {
		of[t.node] = append(of[t.node], t.Unconfirmed)
	}
	d.takeBacks = nil
	for node, all := range of {
		left, err := d.opt.Store.TakeBack(ctx, node, all)
		if err != nil {
			d.opt.Log.Warn("unconfirmed commands could not be taken back, the node tries again", "err", err)
		}
		for _, u := range left {
			d.notTaken = append(d.notTaken, takeBack{node, u})
		}
	}
}

// tick sees to what waits for time to pass.
func (d *Dispatcher) tick(ctx context.Context) {
	d.takeBacks, d.notTaken = append(d.takeBacks, d.notTaken...), nil
	d.everywhere, d.again = append(d.everywhere, d.again...), nil
	d.writeLate()
	blocked := map[string][]*line{}
	for _, l := range d.lines {
		switch {
		case len(l.kept) > 0: // the new subscription may have failed
			d.advance(l)
		case l.retry && d.opt.Ticks() >= l.anyhow:
			l.retry = false
			d.advance(l)
		case !l.entered && l.isStale(d.opt.Ticks()):
			d.forget(l)
		case l.handed != nil && (l.more || l.look || len(l.live) > 0):
			blocked[l.handed.node] = append(blocked[l.handed.node], l)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, tripTime)
	defer cancel()
	for node, lines := range blocked {
		d.checkHeld(ctx, node, lines)
	}
}

// checkHeld frees lines whose peers have confirmed on another node, or whose commands
// have ended.
func (d *Dispatcher) checkHeld(ctx context.Context, node string, lines []*line) {
	all := make([]command.Unconfirmed, len(lines))
	for i, l := range lines {
		all[i] = l.handed.unconfirmed()
	}
	held := d.opt.Store.StillHeld(ctx, node, all)
	for i, l := range lines {
		if !held[i] {
			d.free(l)
		}
	}
}

// tellCancelled tells the subscribers that confirm, and were handed the command.
func (d *Dispatcher) tellCancelled(ctx context.Context, delivery envelope.Delivery) {
	var confirm []subscription
	var peers []string
	for _, s := range d.lastOf(delivery.App, delivery.Channel) {
		if s.confirms {
			confirm, peers = append(confirm, s), append(peers, s.Peer())
		}
	}
	if len(confirm) == 0 {
		return
	}
	handed, err := d.opt.Store.HandedTo(ctx, delivery.App, delivery.Command.ID, peers)
	if err != nil {
		d.opt.Log.Warn("subscribers could not be told that a command was cancelled", "command", delivery.Command.ID, "err", err)
		return
	}
	for i, s := range confirm {
		if !handed[i] {
			continue
		}
		if s.AppendPortion(&conn.Portion{Frames: []conn.Perishable{{Frame: delivery.Frame}}}) {
			d.dirty = append(d.dirty, s.Receiver)
		}
		if l := d.handed[handedKey{delivery.App, s.Peer(), delivery.Command.ID}]; l != nil {
			d.free(l)
		}
	}
}
