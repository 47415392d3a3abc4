package hub

import "fleetwire/pkg/broker"

// maxJoined bounds the frames that are joined into one buffer. A connection
// whose buffer is partly written cannot be given anything else before its end.
const maxJoined = 64 << 10

// maxUnflushed is how many bytes of messages are queued before what is queued is
// flushed: far less than protocol.UnsentBytesLimit, so that a large batch does
// not close connections as slow before anything was tried to be sent to them.
const maxUnflushed = 256 << 10

// Broadcast hands a batch of messages to everyone whom they concern, in order.
// Frames are shared, never copied per receiver; each connection that got
// something is flushed once for each maxUnflushed bytes of the batch. Only one
// goroutine may call it at a time.
func (h *Hub) Broadcast(batch []broker.Delivery) {
	for len(batch) > 0 {
		size := 0
		h.mu.RLock()
		for len(batch) > 0 && size < maxUnflushed {
			run := h.runLength(batch)
			h.deliver(batch[:run])
			for i := range batch[:run] {
				size += len(batch[i].Frame) + len(batch[i].FromMetadata)
			}
			batch = batch[run:]
		}
		h.mu.RUnlock()
		for i, s := range h.dirty {
			s.Flush()
			h.dirty[i] = nil
		}
		h.dirty = h.dirty[:0]
	}
}

// runLength is how many messages at the head of the batch have the same
// receivers, so that their frames can be joined and queued as one.
func (h *Hub) runLength(batch []broker.Delivery) int {
	first, sender := &batch[0], h.interest.PublishedBy(&batch[0])
	size := len(first.Frame)
	for i := 1; i < len(batch); i++ {
		d := &batch[i]
		size += len(d.Frame) + len(d.FromMetadata)
		if d.Channel != first.Channel || d.App != first.App || d.Kind != first.Kind || size > maxJoined || h.interest.PublishedBy(d) != sender {
			return i
		}
	}
	return len(batch)
}

// deliver queues a run of messages for everyone it concerns.
func (h *Hub) deliver(run []broker.Delivery) {
	d := &run[0]
	a := h.names[nameKey{d.Kind, d.App, d.Channel}]
	matching := h.matching[:0]
	sender := h.interest.PublishedBy(d)
	if d.Kind == broker.KindPeer {
		sender = 0 // who sends to its own peer id gets it
	} else {
		if all := h.patterns[d.App]; all != nil {
			matching = all.match(d.Channel, matching)
		}
	}
	if a == nil && len(matching) == 0 {
		return
	}
	h.sequence++
	out := round{hub: h, run: run, sender: sender}
	passes := []bool{false}
	if hasMetadata(run) {
		// Those who want the metadata come first: whoever is subscribed twice, once
		// with and once without, gets it.
		passes = []bool{true, false}
	}
	for _, metadata := range passes {
		any := len(passes) == 1
		if a != nil {
			out.queue(a, metadata, any)
		}
		for _, p := range matching {
			out.queue(&p.audience, metadata, any)
		}
	}
	h.delivered.Add(uint64(out.receivers * len(run)))
	clear(matching)
	h.matching = matching[:0]
}

// round is the delivery of one run.
type round struct {
	hub       *Hub
	run       []broker.Delivery
	sender    uint64 // does not get its own message
	receivers int

	plain, withMetadata []byte // built when the first receiver needs them
}

// queue appends the run to those of the audience who want (metadata) or do not
// want the sender's metadata; with any, to all of them.
func (r *round) queue(a *audience, metadata, any bool) {
	direct := r.run[0].Kind == broker.KindPeer
	for i := range a.members {
		m := &a.members[i]
		if m.id == r.sender || (!any && m.metadata != metadata) {
			continue
		}
		queued, flush := false, false
		if direct {
			queued, flush = m.subscriber.AppendDirect(r.frames(metadata), r.hub.sequence)
		} else {
			queued, flush = m.subscriber.Append(r.frames(metadata), r.hub.sequence)
		}
		if queued {
			r.receivers++
		}
		if flush {
			r.hub.dirty = append(r.hub.dirty, m.subscriber)
		}
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

func hasMetadata(run []broker.Delivery) bool {
	for i := range run {
		if len(run[i].FromMetadata) > 0 {
			return true
		}
	}
	return false
}
