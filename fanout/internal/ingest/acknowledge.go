package ingest

import (
	"context"
	"errors"
	"time"

	"fleetwire/pkg/batch"
	"fleetwire/pkg/group"
	"fleetwire/pkg/protocol"
)

// Acknowledged is told what became of an acknowledgement: which of its messages the peer had
// lost before, or that Redis did not answer.
type Acknowledged func(lost []string, err error)

// acknowledging is what a frame says of messages.
type acknowledging struct {
	acks  []string
	nacks []protocol.GroupNack
	done  Acknowledged
}

const (
	// maxAckBytes bounds what a connection's frames that wait for Redis take. A peer that
	// acknowledges each message once, of all the groups that an app can have, stays below it.
	maxAckBytes = 4 << 20
	// ackBytes is what a message in a frame takes besides its ackId, about.
	ackBytes = 32
)

// errTooMany is the error of an acknowledgement that does not wait, since too much does.
var errTooMany = errors.New("too many acknowledgements wait for Redis")

// bytes is what the frame takes, about.
func (a *acknowledging) bytes() (n int) {
	for _, id := range a.acks {
		n += len(id) + ackBytes
	}
	for _, one := range a.nacks {
		n += len(one.AckID) + ackBytes
	}
	return n
}

// Acknowledge takes what the peer says of messages. done is called, on another goroutine, when
// Redis has taken it, or with an error. Once the Ingester has left, it may never be called. Acknowledge does not block.
func (i *Ingester) Acknowledge(acks []string, nacks []protocol.GroupNack, done Acknowledged) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.left {
		return
	}
	a := &acknowledging{acks, nacks, done}
	if i.ackBytes > 0 && i.ackBytes+a.bytes() > maxAckBytes {
		i.running.Go(func() { done(nil, errTooMany) })
		return
	}
	i.acks = append(i.acks, a)
	i.ackBytes += a.bytes()
	if !i.acknowledges {
		i.acknowledges = true
		i.running.Go(i.acknowledgeAll)
	}
}

// acknowledgeAll tells Redis what waits to be told, until there is nothing.
func (i *Ingester) acknowledgeAll() {
	for {
		i.mu.Lock()
		if len(i.acks) == 0 {
			i.acknowledges = false
			i.mu.Unlock()
			return
		}
		some := batch.Take(&i.acks, i.together())
		for _, a := range some {
			i.ackBytes -= a.bytes()
		}
		i.mu.Unlock()
		answered := i.acknowledge(some)
		i.mu.Lock()
		if i.left && !answered {
			// The leases end. The connection's end, and the node's, wait no longer for Redis.
			i.acks = nil
		}
		i.mu.Unlock()
	}
}

// together is how many of the frames that wait go to Redis at once.
func (i *Ingester) together() (frames int) {
	messages := 0
	for _, a := range i.acks {
		if messages += len(a.acks) + len(a.nacks); messages > protocol.MaxGroupAcks && frames > 0 {
			break
		}
		frames++
	}
	return frames
}

// told is what Redis is told of messages of one group.
type told struct {
	acks  []string
	nacks []group.Nack
}

// acknowledge tells Redis what some frames say, and then their senders what became of it. It
// returns whether Redis answered.
func (i *Ingester) acknowledge(some []*acknowledging) (answered bool) {
	of := map[string]*told{} // by group
	i.mu.Lock()
	name := func(ackID string) *told {
		l := i.leased[ackID]
		if l == nil {
			return nil // it is lost
		}
		t := of[l.of.group]
		if t == nil {
			t = &told{}
			of[l.of.group] = t
		}
		return t
	}
	for _, a := range some {
		for _, id := range a.acks {
			if t := name(id); t != nil {
				t.acks = append(t.acks, id)
			}
		}
		for _, n := range a.nacks {
			if t := name(n.AckID); t != nil {
				t.nacks = append(t.nacks, group.Nack{AckID: n.AckID, Delay: time.Duration(n.DelayMs) * time.Millisecond})
			}
		}
	}
	i.mu.Unlock()
	held, unanswered := map[string]int{}, map[string]error{}
	for g, t := range of {
		i.tell(g, t, held, unanswered)
	}
	i.answer(some, held, unanswered)
	return len(unanswered) == 0
}

// tell tells Redis, and counts in held how often each message was held then. Of messages of
// which Redis did not answer, it leaves the error in unanswered.
func (i *Ingester) tell(name string, t *told, held map[string]int, unanswered map[string]error) {
	app := i.connection.App()
	g := app.Group(name)
	if g == nil {
		return // with the group its messages are lost
	}
	ctx, cancel := context.WithTimeout(context.Background(), tripTime)
	defer cancel()
	results, err := i.all.store.Ack(ctx, app, g, t.acks, t.nacks)
	ids := t.acks
	for _, n := range t.nacks {
		ids = append(ids, n.AckID)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, id := range ids {
		if err != nil {
			unanswered[id] = err
			continue
		}
		if results[n] {
			held[id]++
		}
		if l := i.leased[id]; l != nil {
			i.forget(l)
			l.of.freed.Set()
		}
	}
}

// answer tells the peer what became of its frames. A message that is named twice was held
// once.
func (i *Ingester) answer(some []*acknowledging, held map[string]int, unanswered map[string]error) {
	for _, a := range some {
		var lost []string
		var failed error
		each := func(id string) {
			switch {
			case unanswered[id] != nil:
				failed = unanswered[id]
			case held[id] > 0:
				held[id]--
			default:
				lost = append(lost, id)
			}
		}
		for _, id := range a.acks {
			each(id)
		}
		for _, n := range a.nacks {
			each(n.AckID)
		}
		a.done(lost, failed)
	}
}
