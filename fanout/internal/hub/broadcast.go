package hub

import (
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
)

// maxJoined bounds the frames that are joined into one buffer. A connection
// whose buffer is partly written cannot be given anything else before its end.
const maxJoined = 64 << 10

// maxUnflushed is how many bytes of messages are queued before what is queued is
// flushed: far less than protocol.UnsentBytesLimit, so that a large batch does
// not close connections as slow before anything was tried to be sent to them.
const maxUnflushed = 256 << 10

// These bound one call of Broadcast, which the other apps wait for. It begins no
// further run of messages when so many have been queued, and writes to so many
// connections, to fewer if there is much to write to each: either takes some 0.1 ms.
const (
	maxQueued  = 1024
	maxFlushed = 16
)

// progress is how far the delivery of a batch to an app's connections has come.
type progress struct {
	queued   int // messages at the head of the batch
	bytes    int // of them
	flushing bool
	dirty    []Subscriber // have to be flushed
	flushed  int          // of them

	timed []timed // of what is queued, messages that tell when they were taken
}

// Broadcast hands messages of one app to all connections that they are for, in order. It
// does a part of that (receiver.Deliver), and returns how many messages at the head of
// the batch are finished; the caller calls it again with the rest. It stops before an
// announcement: those are not for the hub.
//
// Frames are shared, never copied per receiver; each connection that got something
// is flushed once for each maxUnflushed bytes of the batch. Only one goroutine may
// call it at a time.
func (h *Hub) Broadcast(batch []envelope.Delivery) (finished int) {
	app := batch[0].App
	p, goesOn := h.underWay[app]
	if !goesOn {
		if p, h.spare = h.spare, nil; p == nil {
			p = &progress{}
		}
	}
	if !p.flushing {
		h.queue(p, batch)
	}
	if p.flushing {
		p.flush()
	}
	if !p.flushing || p.flushed < len(p.dirty) {
		if !goesOn {
			h.underWay[app] = p
		}
		return 0
	}
	if goesOn {
		delete(h.underWay, app)
	}
	finished = p.queued
	h.observed(p)
	clear(p.timed) // let go of the frames
	*p = progress{dirty: p.dirty[:0], timed: p.timed[:0]}
	h.spare = p
	return finished
}

// queue goes on queueing the batch. When that is done, or enough is queued, it has
// what is queued flushed.
func (h *Hub) queue(p *progress, batch []envelope.Delivery) {
	for queued := 0; queued < maxQueued; {
		rest := batch[p.queued:]
		run := rest[:h.runLength(rest)]
		if run[0].Kind == envelope.KindPeer && h.precede != nil {
			h.precede(run)
		}
		if isForCommands(&run[0]) {
			h.commands(run[0])
			queued++
		}
		if !isForCommandsAlone(&run[0]) {
			receivers := h.deliver(run, &p.dirty)
			queued += 1 + receivers
			if receivers > 0 {
				p.note(run, receivers)
			}
		}
		for i := range run {
			p.bytes += len(run[i].Frame) + len(run[i].FromMetadata)
		}
		p.queued += len(run)
		if p.queued == len(batch) || batch[p.queued].Kind == envelope.KindPresence || p.bytes >= maxUnflushed {
			p.flushing = true
			return
		}
	}
}

// flush goes on flushing.
func (p *progress) flush() {
	n := min(max(maxUnflushed/max(p.bytes, 1), 1), maxFlushed, len(p.dirty)-p.flushed)
	some := p.dirty[p.flushed:][:n]
	for i, s := range some {
		s.Flush()
		some[i] = nil
	}
	p.flushed += n
}

// runLength is how many messages at the head of the batch have the same
// receivers, so that their frames can be joined and queued as one.
func (h *Hub) runLength(batch []envelope.Delivery) int {
	first := &batch[0]
	if first.Command != nil || first.Position.Offset != 0 {
		return 1
	}
	size := len(first.Frame)
	for i := 1; i < len(batch); i++ {
		d := &batch[i]
		size += len(d.Frame) + len(d.FromMetadata)
		if d.Channel != first.Channel || d.App != first.App || d.Kind != first.Kind || d.Command != nil || d.Position.Offset != 0 || size > maxJoined || d.Publisher != first.Publisher || d.Only != first.Only {
			return i
		}
	}
	return len(batch)
}

// deliver queues a run of messages for everyone it concerns, and returns for how
// many that is. Those who need a flush are added to dirty.
func (h *Hub) deliver(run []envelope.Delivery, dirty *[]Subscriber) (receivers int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	d := &run[0]
	a := h.names[nameKey{d.Kind, d.App, d.Channel}]
	matching := h.matching[:0]
	sender := d.Publisher
	if d.Kind == envelope.KindPeer {
		sender = 0 // who sends to its own peer id gets it
	} else {
		if all := h.patterns[d.App]; all != nil {
			matching = all.match(d.Channel, matching)
		}
	}
	if a == nil && len(matching) == 0 {
		return 0
	}
	h.sequence++
	out := round{hub: h, run: run, sender: sender, only: d.Only, dirty: dirty}
	if d.Command != nil {
		a, out.except = nil, a
	}
	passes := []bool{false}
	if hasMetadata(run) {
		// Subscribers that want the metadata come first: a connection that is subscribed
		// twice, once with and once without, gets it.
		passes = []bool{true, false}
	}
	any := len(passes) == 1
	if d.Position.Offset != 0 && a != nil {
		// Followers know whether their connections have the message already, so they come
		// before wildcards.
		for _, metadata := range passes {
			out.queue(a, metadata, any)
		}
		a = nil
	}
	for _, metadata := range passes {
		if a != nil {
			out.queue(a, metadata, any)
		}
		for _, p := range matching {
			out.queue(&p.audience, metadata, any)
		}
	}
	if h.counted == nil || h.counted.ID != d.App {
		h.counted = h.tally.Of(d.App)
	}
	h.counted.Deliveries.Add(uint64(out.receivers * len(run)))
	clear(matching)
	h.matching = matching[:0]
	return out.receivers
}

// round is the delivery of one run.
type round struct {
	hub       *Hub
	run       []envelope.Delivery
	sender    uint64    // does not get its own message
	except    *audience // nor do these
	only      uint64    // gets it alone; 0: all do
	dirty     *[]Subscriber
	receivers int

	plain, withMetadata []byte // built when the first receiver needs them
}

// queue appends the run to those of the audience who want (metadata) or do not
// want the sender's metadata; with any, to all of them.
func (r *round) queue(a *audience, metadata, any bool) {
	for i := range a.members {
		m := &a.members[i]
		if !any && m.Metadata != metadata {
			continue
		}
		if at := r.run[0].Position; at.Offset != 0 {
			if f, ok := m.subscriber.(Follower); ok {
				r.follow(f, metadata, at)
				continue
			}
		}
		if m.id == r.sender || r.only != 0 && m.id != r.only {
			continue
		}
		if r.except != nil && r.except.find(m.subscriber) >= 0 {
			continue
		}
		queued, flush := m.subscriber.Append(r.frames(metadata), r.hub.sequence)
		r.took(m.subscriber, queued, flush)
	}
}

// follow hands on a remembered message. Its publisher is told that it was there.
func (r *round) follow(f Follower, metadata bool, at protocol.Position) {
	var frame []byte
	if f.ID() != r.sender {
		frame = r.frames(metadata)
	}
	queued, flush := f.AppendAt(frame, r.hub.sequence, at)
	r.took(f, queued && frame != nil, flush)
}

func (r *round) took(s Subscriber, queued, flush bool) {
	if queued {
		r.receivers++
	}
	if flush {
		*r.dirty = append(*r.dirty, s)
	}
}

func (r *round) frames(metadata bool) []byte {
	if metadata {
		if r.withMetadata == nil {
			for i := range r.run {
				r.withMetadata = append(r.withMetadata, r.run[i].FrameWithMetadata()...)
			}
		}
		return r.withMetadata
	}
	if r.plain == nil {
		if len(r.run) == 1 {
			r.plain = r.run[0].Frame
		} else {
			for i := range r.run {
				r.plain = append(r.plain, r.run[i].Frame...)
			}
		}
	}
	return r.plain
}

func hasMetadata(run []envelope.Delivery) bool {
	for i := range run {
		if len(run[i].FromMetadata) > 0 {
			return true
		}
	}
	return false
}
