package members

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"fleetwire/pkg/batch"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// changesInTrip bounds the changes of one round trip, so that Redis is never busy
// with one for long.
const changesInTrip = 512

// round is what Redis is told in one round trip.
type round struct {
	entries []entry
	calls   []*changeRun                    // in order
	last    map[rediskeys.Bucket]*changeRun // of each bucket
}

// changeRun is one run of change.lua, and whom it is about.
type changeRun struct {
	*changeCall
	channels []*attended
	members  []*member
}

// tell tells Redis everything that is in the queue.
func (t *Tracker) tell(ctx context.Context) error {
	for {
		r := t.take()
		if r == nil {
			return nil
		}
		var entered []rediskeys.Bucket
		for bucket := range r.last {
			if !t.buckets[bucket] {
				entered = append(entered, bucket)
			}
		}
		err := t.enter(ctx, entered)
		if err == nil {
			err = t.run(ctx, r)
		}
		switch {
		case err == nil:
		case t.isOfOneMaster(err): // Health says so in the log
		case redisconn.Unreachable(err) || errors.Is(err, context.Canceled):
			r.finish(ErrDown)
			return err
		default:
			t.opt.Log.Error("redis does not take who joins and leaves channels: presence is incomplete until it does", "err", err)
		}
		t.settle(r)
		r.finish(nil)
	}
}

// enter notes buckets in Redis in which the identity is about to have members. While the master
// that has the leases does not answer, and others do, that is done later (renewOrWait). If the
// node dies before, its members stay there.
func (t *Tracker) enter(ctx context.Context, buckets []rediskeys.Bucket) error {
	err := t.store.enter(ctx, t.node, buckets)
	if t.isOfOneMaster(err) {
		t.belated = append(t.belated, buckets...)
		err = nil
	}
	if err == nil {
		for _, b := range buckets {
			t.buckets[b] = true
		}
	}
	return err
}

func (t *Tracker) run(ctx context.Context, r *round) error {
	if len(r.calls) == 0 {
		return nil
	}
	calls := make([]*changeCall, len(r.calls))
	for i, c := range r.calls {
		calls[i] = c.changeCall
	}
	return t.store.change(ctx, calls)
}

// take takes the next changes out of the queue.
func (t *Tracker) take() *round {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := batch.Take(&t.queue, changesInTrip)
	if len(taken) == 0 {
		return nil
	}
	r := &round{entries: taken, last: make(map[rediskeys.Bucket]*changeRun, len(taken))}
	// A channel's changes stand together.
	changed := make(map[*attended][]*member, len(taken))
	now := t.now()
	for _, a := range r.entries {
		m := a.member
		if !m.dirty {
			continue
		}
		m.dirty = false
		switch {
		case m.connection == 0 && !m.known:
			t.forget(m)
		case !m.isNews(), t.holdBack(m, now):
		default:
			changed[m.channel] = append(changed[m.channel], m)
		}
	}
	for c, members := range changed {
		for len(members) > 0 {
			members = t.put(r, c, members)
		}
	}
	return r
}

// put puts the changes of one channel into the round, as many as fit into one
// call, and returns the others. It is called with t.mu held.
func (t *Tracker) put(r *round, c *attended, members []*member) (others []*member) {
	bucket := t.opt.Keys.Bucket(c.id.App, c.id.Channel)
	call := r.last[bucket]
	if call == nil || call.isFull() {
		call = &changeRun{changeCall: t.store.newChange(bucket, t.node)}
		r.calls = append(r.calls, call)
		r.last[bucket] = call
	}
	members, others = call.fitting(members)
	has := "="
	for _, m := range members {
		is := m.connection != 0
		if is && !m.known {
			c.known++
		} else if !is {
			c.known--
		}
		m.known = is
		if is {
			has = "+" // each time: Redis may have lost what it was told before
		}
	}
	if c.known == 0 {
		has = "-"
	}
	call.channel(c.id.Channel, has, len(members))
	for _, m := range members {
		if m.known {
			call.join(presence.Member{Peer: m.peer, Metadata: string(m.metadata)})
		} else {
			call.leave(m.peer)
		}
		m.sent, m.sure, m.again, m.reserved = m.metadata, true, false, nil
	}
	call.channels = append(call.channels, c)
	call.members = append(call.members, members...)
	return others
}

// fitting cuts off what does not fit into the call any more. One always does.
func (c *changeRun) fitting(members []*member) (fit, others []*member) {
	n, bytes := 0, c.bytes
	for n < len(members) && c.changes+n < changesInCall && bytes < bytesInCall {
		bytes += len(members[n].peer) + len(members[n].metadata)
		n++
	}
	return members[:n], members[n:]
}

// settle takes Redis's answers. Changes that Redis refused, or one of its masters did not
// answer, are sent again with the next renewal.
func (t *Tracker) settle(r *round) {
	t.mu.Lock()
	defer t.mu.Unlock()
	away := map[*attended]bool{}
	for _, call := range r.calls {
		versions, err := call.versions()
		if err != nil && !errors.Is(err, errNotRun) && redisconn.Unreachable(err) {
			for _, c := range call.channels {
				away[c] = true
			}
		}
		if err != nil {
			for _, m := range call.members {
				m.sure = false
				if !m.known {
					m.known = true
					m.channel.known++
				}
				m.channel.version = presence.Version{}
			}
			t.refused = append(t.refused, call.members...)
			continue
		}
		for i, c := range call.channels {
			c.version = versions[i]
		}
		for _, m := range call.members {
			if !m.known && !m.dirty && m.connection == 0 && t.members[m.memberKey] == m {
				t.forget(m)
			}
		}
	}
	for i := range r.entries {
		a := &r.entries[i]
		a.version = a.member.channel.version
		if away[a.member.channel] {
			a.err = ErrDown
		}
	}
}

// finish answers all calls that waited for the round.
func (r *round) finish(err error) {
	for _, a := range r.entries {
		if a.done != nil {
			a.done(a.version, cmp.Or(err, a.err))
		}
	}
}

// restate sends everything to Redis anew, under another identity. Waiting calls
// wait on.
func (t *Tracker) restate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := slices.DeleteFunc(t.queue, func(e entry) bool { return e.done == nil })
	t.queue = make([]entry, 0, len(t.members)+len(waiting))
	for _, m := range t.members {
		m.known, m.sure, m.reserved = false, false, nil
		m.channel.known = 0
		m.dirty = m.connection != 0
		if m.dirty {
			t.queue = append(t.queue, entry{member: m})
		} else {
			t.forget(m)
		}
	}
	t.queue = append(t.queue, waiting...)
}

// refuseWaiting answers all waiting calls: Redis is away. Their changes are sent when it
// is back, unless the callers take them back.
func (t *Tracker) refuseWaiting() {
	t.mu.Lock()
	t.up = false
	queue := t.queue
	t.queue = nil
	t.mu.Unlock()
	for _, a := range queue {
		if a.done != nil {
			a.done(presence.Version{}, ErrDown)
		}
	}
}
