package members

import (
	"bytes"
	"container/heap"
	"time"

	"fleetwire/pkg/presence"
)

// Changes that others are shown are bounded (protocol §4.3), for one frame of a
// peer can cause a hundred of them, and each goes to all who watch its channel.
// A change that comes too early is held back until its turn has come, and is told
// as it is then: the last one wins, and none is lost. A peer whose leaving is held
// back and that is back by then has not left. Joining is never held back, for each
// join but the first has a leave before it.
var (
	memberRate = rate{burst: 4, each: time.Second}             // changes of a peer in a channel
	peerRate   = rate{burst: 200, each: 50 * time.Millisecond} // new metadata of a peer, in all its channels
	appRate    = rate{burst: 10000, each: time.Millisecond}    // new metadata of all peers of an app
)

// rate is a token bucket's.
type rate struct {
	burst int           // tokens that a full bucket has
	each  time.Duration // until there is one more
}

// pace has a node's buckets, and who waits for a token. It is guarded by
// Tracker.mu.
type pace struct {
	start  time.Time
	member buckets[memberName]
	peer   buckets[peerName]
	app    buckets[string]
	later  held
}

type (
	memberName struct {
		id   presence.ChannelID
		peer string
	}
	peerName struct{ app, peer string }
)

func newPace() pace {
	return pace{start: time.Now(), member: newBuckets[memberName](memberRate), peer: newBuckets[peerName](peerRate), app: newBuckets[string](appRate)}
}

// reserved are tokens that a member has taken in advance, and from when on they
// count; zero: none. Leaving must not wait for what new metadata waits for.
type reserved struct{ update, leave time.Duration }

// holdBack says whether the member's change is to wait. If so, it comes back into
// the queue in time. It is called with t.mu held.
func (t *Tracker) holdBack(m *member, now time.Time) bool {
	if !m.known || !m.sure || t.ending {
		return false
	}
	p, at := &t.pace, now.Sub(t.pace.start)
	if m.reserved == nil {
		m.reserved = &reserved{}
	}
	due := &m.reserved.update
	if m.connection == 0 {
		due = &m.reserved.leave
	}
	if *due == 0 {
		*due = p.reserve(m, at)
		if *due > at {
			heap.Push(&p.later, heldBack{*due, m})
		}
	}
	return *due > at
}

// reserve takes the tokens for a change, and says when it may be told.
func (p *pace) reserve(m *member, at time.Duration) time.Duration {
	id := m.channel.id
	due := p.member.reserve(memberName{id, m.peer}, at)
	if m.connection != 0 && !bytes.Equal(m.sent, m.metadata) {
		due = max(due, p.peer.reserve(peerName{id.App, m.peer}, at), p.app.reserve(id.App, at))
	}
	return due
}

// release puts those back into the queue whose turn has come.
func (t *Tracker) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, at := &t.pace, t.now().Sub(t.pace.start)
	for len(p.later) > 0 && p.later[0].due <= at {
		m := heap.Pop(&p.later).(heldBack).member
		// It may be gone meanwhile, or have been told.
		if m.reserved != nil && !m.dirty && t.members[m.memberKey] == m {
			m.dirty = true
			t.queue = append(t.queue, entry{member: m})
		}
	}
}

// nextDue is in how long the next change that waits is due; not ok: none waits.
func (t *Tracker) nextDue() (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.pace
	if len(p.later) == 0 {
		return 0, false
	}
	return p.later[0].due - t.now().Sub(p.start), true
}

// buckets are token buckets of one rate. A bucket is when it is full again; one
// that is full is not kept.
type buckets[K comparable] struct {
	rate
	full  map[K]time.Duration
	sweep int // at this many, full ones are dropped
}

const sweepAt = 1024

func newBuckets[K comparable](r rate) buckets[K] {
	return buckets[K]{rate: r, full: map[K]time.Duration{}, sweep: sweepAt}
}

// reserve takes a token, be there one or not, and says from when on it counts.
func (b *buckets[K]) reserve(key K, at time.Duration) time.Duration {
	if len(b.full) >= b.sweep {
		for k, full := range b.full {
			if full <= at {
				delete(b.full, k)
			}
		}
		b.sweep = max(sweepAt, 2*len(b.full))
	}
	full := max(b.full[key], at) + b.each
	b.full[key] = full
	return max(at, full-time.Duration(b.burst)*b.each)
}

// held is a heap of those who wait, the first to go on top.
type held []heldBack

type heldBack struct {
	due    time.Duration // since pace.start
	member *member
}

func (h held) Len() int           { return len(h) }
func (h held) Less(i, j int) bool { return h[i].due < h[j].due }
func (h held) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *held) Push(x any)        { *h = append(*h, x.(heldBack)) }
func (h *held) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = heldBack{}
	*h = (*h)[:last]
	return x
}
