package session

import (
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/replay"
)

// ask queues a subscribe that Redis has confirmed. It is answered when its turn comes.
func (f *follower) ask(w *subscribing) {
	f.goOn(func() {
		f.metadata, f.confirms = w.options.Metadata, w.options.Confirms
		f.asks = append(f.asks, w)
		if f.left {
			f.dismiss()
		}
	})
}

// dismiss answers the subscribes that wait, of a subscription that has ended. Unless it
// was refused, they were carried out, and undone.
func (f *follower) dismiss() {
	for _, w := range f.asks {
		if f.refused != nil {
			f.fail(w.requestID, f.refused)
		} else {
			f.ack(w.requestID)
		}
	}
	f.asks = nil
}

// maxAsks is how many subscribes to one channel may wait for their answers. The
// connection's frames wait when there are more.
const maxAsks = 4

// asked counts a subscribe that is yet to be answered. It is called on the connection's
// loop.
func (f *follower) asked() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending++; f.pending > maxAsks && !f.paused {
		f.paused = true
		f.Pause()
	}
}

// unasked undoes asked.
func (f *follower) unasked() {
	f.mu.Lock()
	f.settle(1)
	f.mu.Unlock()
}

// settle undoes asked, of so many subscribes. The caller holds mu, as of all functions
// from here on that do not lock it.
func (f *follower) settle(subscribes int) {
	if f.pending -= subscribes; f.pending == 0 && f.paused {
		f.paused = false
		f.Resume()
	}
}

// serve reads what the subscribe asks for.
func (f *follower) serve(w *subscribing) {
	q := &replay.Request{Since: w.since}
	if w.last != nil {
		q.Last = *w.last
	}
	f.read(q, w)
}

// catchUp reads what comes behind what the peer was sent.
func (f *follower) catchUp() {
	since := f.at
	f.read(&replay.Request{Since: &since}, nil)
}

// read reads for a subscribe, or with nil to catch up.
func (f *follower) read(q *replay.Request, w *subscribing) {
	f.busy, f.behind = true, false
	for i := range f.held {
		f.held[i].old = true
	}
	q.Connection, q.App, q.Channel = f.ID(), f.Grant().App, f.name
	q.Done = func(p *replay.Page) (held bool) { return f.take(q, w, p) }
	f.opt.History.Read(q)
}

// take goes on with what was read. It locks mu.
func (f *follower) take(q *replay.Request, w *subscribing, p *replay.Page) (held bool) {
	f.mu.Lock()
	then := func() {}
	switch {
	case f.left:
		f.mu.Unlock()
		return false
	case p.Err != nil && w == nil:
		f.mu.Unlock()
		f.opt.History.Again(q)
		return false
	}
	f.busy = false
	switch {
	case p.Err != nil:
		then = f.failed(w)
	case w != nil:
		held, then = f.served(w, p)
	default:
		held = f.caughtUp(p)
	}
	f.next()
	f.mu.Unlock()
	then()
	f.Flush()
	return held
}

// served answers the subscribe, and replays the page.
func (f *follower) served(w *subscribing, p *replay.Page) (held bool, then func()) {
	if f.owes(w, p) {
		w.owed, w.recovered = true, p.Recovered
		since := f.at
		f.read(&replay.Request{Since: &since}, w)
		return false, func() {}
	}
	f.asks = f.asks[1:]
	f.settle(1)
	f.answer(w, p)
	switch {
	case p.Position.Epoch == "":
		f.at = protocol.Position{}
	case w.replays():
		f.showsGaps, f.until = true, p.Position.Offset
		if w.owed {
			held = f.caughtUp(p)
			break
		}
		f.at, f.behind = p.Reached(), f.behind || p.More
		held = f.write(p, 0)
	case !f.known:
		f.at = p.Position
	case f.at.Epoch != p.Position.Epoch:
		f.behind = true
	}
	f.known, f.commands = true, commandsDue
	return held, w.snapshot
}

// owes says whether the peer, which is subscribed already, has yet to get messages from
// before the page that it asks for now. Then it gets all of them.
func (f *follower) owes(w *subscribing, p *replay.Page) bool {
	if !f.known || !w.replays() || w.owed || f.at.Epoch == "" || p.Position.Epoch == "" {
		return false
	}
	return f.at.Epoch != p.Position.Epoch || p.Begin() > f.at.Offset+1
}

func (f *follower) answer(w *subscribing, p *replay.Page) {
	at, recovered := p.Position, p.Recovered
	if w.owed {
		recovered = w.recovered
	}
	switch {
	case w.requestID == "":
	case w.since != nil:
		f.Send(func(dst []byte) []byte {
			return protocol.AppendRecovered(dst, w.requestID, at, recovered && at.Epoch != "")
		})
	case at.Epoch == "":
		f.ack(w.requestID)
	default:
		f.Send(func(dst []byte) []byte { return protocol.AppendAckAt(dst, w.requestID, at) })
	}
}

// failed answers a subscribe whose read Redis did not answer. then is to be called without
// mu.
func (f *follower) failed(w *subscribing) (then func()) {
	if f.known {
		f.asks = f.asks[1:]
		f.settle(1)
		f.fail(w.requestID, protocol.Errorf(protocol.BackendError, "Redis does not answer; nothing is replayed, and the subscription goes on as it was; try again"))
		return func() {}
	}
	f.left, f.refused = true, notSubscribed(errNoHistory, "Redis does not answer")
	return w.giveUp
}

// caughtUp sends the page, which comes behind what the peer was sent.
func (f *follower) caughtUp(p *replay.Page) (held bool) {
	switch {
	case p.Position.Epoch == "":
		f.at = protocol.Position{}
		return false
	case p.Position.Epoch != f.at.Epoch: // the page may have what the peer was sent, under other offsets
		f.lose(p.Position)
		f.until = 0
		return false
	case !p.Recovered:
		f.lose(protocol.Position{Epoch: p.Position.Epoch, Offset: p.Begin() - 1})
	}
	held = f.write(p, f.at.Offset)
	if reached := p.Reached(); reached.Offset > f.at.Offset {
		f.at = reached
	}
	f.behind = f.behind || p.More
	return held
}

// lose goes on behind a position. The peer loses the messages before it that are not held,
// and is told so if it has asked for history.
func (f *follower) lose(to protocol.Position) {
	for i := len(f.held) - 1; i >= 0; i-- {
		if f.held[i].at == to {
			to.Offset--
		}
	}
	if to.Epoch == f.at.Epoch && to.Offset <= f.at.Offset {
		return
	}
	if f.showsGaps {
		f.Send(func(dst []byte) []byte { return protocol.AppendGap(dst, f.name, to) })
	}
	f.at = to
	f.sendHeld()
}

// write has the messages of the page written that come behind an offset.
func (f *follower) write(p *replay.Page, behind uint64) (held bool) {
	portion := &conn.Portion{}
	for i := range p.Messages {
		offset := p.Messages[i].Offset
		replayed := offset <= f.until
		if offset <= behind || !replayed && p.IsOf(i, f.ID()) {
			continue
		}
		portion.Frames = append(portion.Frames, conn.Perishable{Frame: p.Frame(i, f.metadata, replayed)})
	}
	if len(portion.Frames) == 0 {
		return false
	}
	f.busy, f.portion = true, portion
	portion.Written = func(bool) { f.opt.History.Release(f.ID(), f.written) }
	f.AppendPortion(portion)
	return true
}

// written goes on when the connection has taken the page. It locks mu.
func (f *follower) written() { f.goOn(func() { f.busy, f.portion = false, nil }) }
