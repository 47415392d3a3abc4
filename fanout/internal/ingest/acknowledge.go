package ingest

import (
	"context"
	"errors"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/group"
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
		some := batch.Take(&i.acks, i.tripSize())
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

// tripSize is how many of the frames that wait go to Redis at once.
func (i *Ingester) tripSize() (frames int) {
	messages := 0
	for _, a := range i.acks {
		if messages += len(a.acks) + len(a.nacks); messages > protocol.MaxGroupAcks && frames > 0 {
			break
		}
		frames++
	}
	return frames
}

// outcome is what became of a message that a frame names.
type outcome struct {
	id   string
	of   *lease // nil: the peer does not hold it
	held bool
	err  error // Redis did not answer
}

// ackCall is what Redis is told of messages of one group, and their outcomes.
type ackCall struct {
	acks          []string
	nacks         []group.Nack
	acked, nacked []*outcome
}

// acknowledge tells Redis what some frames say, and then their senders what became of it. It
// returns whether Redis answered.
func (i *Ingester) acknowledge(some []*acknowledging) (answered bool) {
	outcomes, of := i.find(some)
	answered = true
	for name, t := range of {
		answered = i.tell(name, t) && answered
	}
	answer(some, outcomes)
	return answered
}

// find finds what the peer holds of what frames name: an outcome for each, in their order, and
// what Redis is to be told, by group.
func (i *Ingester) find(some []*acknowledging) (outcomes []outcome, of map[string]*ackCall) {
	n := 0
	for _, a := range some {
		n += len(a.acks) + len(a.nacks)
	}
	outcomes, of = make([]outcome, 0, n), map[string]*ackCall{}
	i.mu.Lock()
	defer i.mu.Unlock()
	find := func(id string) (*outcome, *ackCall) {
		outcomes = append(outcomes, outcome{id: id, of: i.leased[id]})
		o := &outcomes[len(outcomes)-1]
		if o.of == nil {
			return o, nil // it is lost
		}
		t := of[o.of.of.group]
		if t == nil {
			t = &ackCall{}
			of[o.of.of.group] = t
		}
		return o, t
	}
	for _, a := range some {
		for _, id := range a.acks {
			if o, t := find(id); t != nil {
				t.acks, t.acked = append(t.acks, id), append(t.acked, o)
			}
		}
		for _, n := range a.nacks {
			if o, t := find(n.AckID); t != nil {
				delay := time.Duration(n.DelayMs) * time.Millisecond
				t.nacks, t.nacked = append(t.nacks, group.Nack{AckID: n.AckID, Delay: delay}), append(t.nacked, o)
			}
		}
	}
	return outcomes, of
}

// tell tells Redis, and fills in the outcomes. It returns whether Redis answered.
func (i *Ingester) tell(name string, t *ackCall) (answered bool) {
	app := i.connection.App()
	g := app.Group(name)
	if g == nil {
		return true // with the group its messages are lost
	}
	ctx, cancel := context.WithTimeout(context.Background(), tripTime)
	defer cancel()
	results, err := i.all.store.Ack(ctx, app, g, t.acks, t.nacks)
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, o := range append(t.acked, t.nacked...) {
		if err != nil {
			o.err = err
			continue
		}
		o.held = results[n]
		i.forget(o.of)
		o.of.of.freed.Set()
	}
	return err == nil
}

// answer tells the peer what became of its frames.
func answer(some []*acknowledging, outcomes []outcome) {
	for _, a := range some {
		var lost []string
		var failed error
		n := len(a.acks) + len(a.nacks)
		for _, o := range outcomes[:n] {
			switch {
			case o.err != nil:
				failed = o.err
			case !o.held:
				lost = append(lost, o.id)
			}
		}
		outcomes = outcomes[n:]
		a.done(lost, failed)
	}
}
