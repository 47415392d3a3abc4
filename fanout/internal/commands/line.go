package commands

import (
	"slices"
	"time"

	"fleetwire/fanout/internal/conn"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
)

// line is a subscription of which there is something to remember.
type line struct {
	lineKey
	app      string
	receiver Receiver
	confirms bool
	done     []func() // of Enter

	entered bool          // Enter was called, or the subscription is not new
	busy    bool          // something is asked of Redis for it, or being written
	retry   bool          // Redis did not answer, or left it to another node; wait for the next tick
	look    bool          // find out whether commands wait
	more    bool          // commands wait in Redis
	left    bool          // the connection has ended
	anyhow  time.Duration // Ticks from which on it takes what is due to another node; 0: it does not
	live    []live
	kept    []conn.Perishable // handed over, to be written behind the ack of a new subscribe
	handed  *handed           // nil: the peer has confirmed what it was handed
}

// lineKey names a subscription.
type lineKey struct {
	connection uint64
	channel    string
}

// live is a command without a TTL that came while others had to go first.
type live struct {
	delivery *envelope.Delivery
	until    time.Duration // Ticks
}

// handed is what a peer has not confirmed.
type handed struct {
	handedKey
	node string // identity under which it was claimed
}

type handedKey struct{ app, peer, id string }

func (d *Dispatcher) newLine(r Receiver, key lineKey, app string, confirms bool) *line {
	l := &line{lineKey: key, app: app, receiver: r, confirms: confirms}
	d.lines[key] = l
	d.ofConnection[key.connection] = append(d.ofConnection[key.connection], l)
	return l
}

func (d *Dispatcher) forget(l *line) {
	delete(d.lines, l.lineKey)
	rest := slices.DeleteFunc(d.ofConnection[l.connection], func(other *line) bool { return other == l })
	if len(rest) == 0 {
		delete(d.ofConnection, l.connection)
	} else {
		d.ofConnection[l.connection] = rest
	}
}

// enter begins a subscription, or begins it anew.
func (d *Dispatcher) enter(r Receiver, key lineKey, app string, confirms bool, done func()) {
	l := d.lines[key]
	if l == nil {
		l = d.newLine(r, key, app, confirms)
	}
	l.receiver, l.confirms, l.entered, l.look = r, confirms, true, true
	l.done = append(l.done, done)
	d.advance(l)
}

// advance does what comes next for the line.
func (d *Dispatcher) advance(l *line) {
	if l.left || l.busy || d.isOfEarlier(l) || !l.entered {
		return
	}
	if len(l.kept) > 0 {
		d.writeKept(l)
		return
	}
	if l.retry {
		return
	}
	if !l.confirms || l.handed == nil {
		switch {
		case l.look:
			l.busy = true
			d.looks = append(d.looks, l)
			return
		case l.more:
			l.busy = true
			d.claimWaiting(l)
			return
		}
		if delivery := l.nextLive(d.opt.Ticks()); delivery != nil {
			l.busy = true
			d.claimLive(l, delivery)
			return
		}
	}
	l.finish()
	if l.handed == nil {
		d.forget(l)
	}
}

// isOfEarlier says whether the line is of a subscription that is over, as a later one of the same
// connection to the channel is yet to enter. Commands that wait, and those that were kept, come behind the ack
// of that one then. If there is no later one, nothing waits for the line any more.
func (d *Dispatcher) isOfEarlier(l *line) bool {
	if !l.more && len(l.live) == 0 && len(l.kept) == 0 {
		return false
	}
	s, subscribed := d.opt.Subscribers.NamedBy(l.connection, l.app, l.channel)
	if !subscribed {
		l.more, l.live = false, nil
		d.dropKept(l)
		return false
	}
	now := s.(Receiver)
	return now != l.receiver && now.Entering()
}

// writeKept queues what was kept for a line.
func (d *Dispatcher) writeKept(l *line) {
	p := &conn.Portion{Frames: l.kept}
	l.kept, l.busy = nil, true
	d.write(&target{l.receiver, l}, p)
}

// dropKept drops the commands that were kept for a line, since the peer is not subscribed. It takes
// back the one that the peer would have had to confirm.
func (d *Dispatcher) dropKept(l *line) {
	if len(l.kept) > 0 && l.handed != nil {
		d.takeBacks = append(d.takeBacks, takeBack{l.handed.node, l.handed.unconfirmed()})
		d.unhand(l)
	}
	l.kept = nil
}

// finish lets the live messages of a new subscription pass.
func (l *line) finish() {
	for _, done := range l.done {
		done()
	}
	l.done = nil
}

// failed has the line ask again at the next tick. Live messages do not wait for that.
func (l *line) failed() {
	l.busy, l.retry = false, true
	l.finish()
}

// takesAnyhow says whether the next claim takes what is due to another node.
func (l *line) takesAnyhow(now time.Duration) bool {
	anyhow := l.anyhow != 0 && now >= l.anyhow
	l.anyhow = 0
	return anyhow
}

// keep keeps a command without a TTL for when its turn comes, which may be too late.
func (l *line) keep(delivery *envelope.Delivery, until time.Duration) {
	if len(l.live) < command.MaxQueued {
		l.live = append(l.live, live{delivery, until})
	}
}

func (l *line) nextLive(now time.Duration) *envelope.Delivery {
	for len(l.live) > 0 {
		next := l.live[0]
		l.live = l.live[1:]
		if now < next.until {
			return next.delivery
		}
	}
	return nil
}

// isStale says whether a line that has not entered keeps nothing any more.
func (l *line) isStale(now time.Duration) bool {
	return len(l.live) == 0 || now >= l.live[len(l.live)-1].until
}

// hand notes what the peer has to confirm.
func (d *Dispatcher) hand(l *line, id, node string) {
	d.unhand(l)
	l.handed = &handed{handedKey{l.app, l.receiver.Peer(), id}, node}
	d.handed[l.handed.handedKey] = l
	d.unconfirmed.Store(int64(len(d.handed)))
}

func (d *Dispatcher) unhand(l *line) {
	if l.handed == nil {
		return
	}
	if d.handed[l.handed.handedKey] == l {
		delete(d.handed, l.handed.handedKey)
	}
	l.handed = nil
	d.unconfirmed.Store(int64(len(d.handed)))
}

// free goes on after the peer has confirmed, or need not any more.
func (d *Dispatcher) free(l *line) {
	d.unhand(l)
	d.advance(l)
}

// left gives up the lines of a connection.
func (d *Dispatcher) left(connection uint64) {
	for _, l := range d.ofConnection[connection] {
		l.left, l.done, l.live, l.kept = true, nil, nil, nil
		delete(d.lines, l.lineKey)
		if l.handed != nil {
			d.takeBacks = append(d.takeBacks, takeBack{l.handed.node, l.handed.unconfirmed()})
			d.unhand(l)
		}
	}
	delete(d.ofConnection, connection)
}

func (h *handed) unconfirmed() command.Unconfirmed {
	return command.Unconfirmed{App: h.app, ID: h.id, Peer: h.peer}
}
