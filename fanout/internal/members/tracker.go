package members

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/batch"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/registry"
)

// ErrDown says that Redis is not reachable, and that nothing has changed.
var ErrDown = errors.New("redis is not reachable")

// Options set a Tracker up.
type Options struct {
	Redis  redis.UniversalClient
	Keys   rediskeys.Namespace
	Health *redisconn.Health
	Log    *slog.Logger
	// Lease is how long the members of a silent node stay; 0: registry.Lease.
	Lease time.Duration
	// Reap, if not nil, takes out what else a dead identity has in a bucket of its index.
	Reap func(ctx context.Context, identity string, bucket rediskeys.Bucket) error
	// Identified, if not nil, gets each identity that the node takes. Other keys under
	// that identity in a bucket of its index are reaped with the members.
	Identified func(identity string)
}

// Tracker tells Redis who is in which channel on this node. Callers state changes;
// one goroutine (Run) sends them to Redis, many at a time. No caller waits for
// Redis. It is safe for concurrent use.
type Tracker struct {
	opt   Options
	store *store
	times times

	mu       sync.Mutex
	channels map[presence.ChannelID]*attended
	members  map[memberKey]*member
	queue    []entry      // what Run has yet to come to
	up       bool         // an identity is held
	ending   bool         // all members leave
	wake     batch.Signal // something is in the queue
	doubt    batch.Signal // Redis may lack what it was told
	pace     pace
	now      func() time.Time

	identity // owned by Run's goroutine
}

// times are how long things take.
type times struct {
	// lease is how long an identity lasts that is not renewed, every renewal.
	lease, renewal time.Duration
	// steady is for how long a node must have held its lease before it reaps
	// others. When Redis was away, all leases have run out, and their holders need
	// time to come back.
	steady time.Duration
	// reap is how long a node has for reaping before another node reaps too.
	reap time.Duration
	// retry is the pause between attempts to reach Redis.
	retry time.Duration
}

func timesOf(lease time.Duration) times {
	return times{lease: lease, renewal: lease / 3, steady: lease * 2 / 3, reap: lease * 2 / 3, retry: 100 * time.Millisecond}
}

// attended is a channel that peers of this node are in.
type attended struct {
	id      presence.ChannelID
	members int              // of this node, those included that Redis does not know yet, or still knows
	known   int              // how many of them Redis may have
	version presence.Version // that Redis last answered with
}

type memberKey struct {
	channel *attended
	peer    string
}

// member is a peer of this node in a channel.
type member struct {
	memberKey
	metadata []byte
	// The connections that are subscribed: the first, 0 if there is none, and the
	// others. Hardly any peer has two.
	connection uint64
	others     []uint64
	dirty      bool // in the queue, with something to tell
	known      bool // Redis may have it under this identity
	again      bool // another connection has joined, of which Redis has to hear

	sent     []byte // the metadata that Redis was sent last
	sure     bool   // Redis has taken that
	reserved *reserved
}

// entry is one of the queue: a member that has changed, or a call that waits
// for its earlier change.
type entry struct {
	member  *member
	done    func(presence.Version, error)
	version presence.Version // for done
	err     error            // likewise
}

// NewTracker returns a Tracker. It takes no members before Run runs.
func NewTracker(opt Options) *Tracker {
	return &Tracker{
		opt:      opt,
		store:    &store{redis: opt.Redis, keys: opt.Keys, reapMore: opt.Reap},
		times:    timesOf(cmp.Or(opt.Lease, registry.Lease)),
		channels: map[presence.ChannelID]*attended{},
		members:  map[memberKey]*member{},
		wake:     batch.NewSignal(),
		doubt:    batch.NewSignal(),
		pace:     newPace(),
		now:      time.Now,
	}
}

// Join lets a peer's connection into the channel. metadata is what others see of
// the peer, a compact JSON object or nil, and must not be changed afterwards.
// Joining again takes new metadata.
//
// If Redis is away the error is ErrDown, and nothing has changed. Else done is
// called once, from another goroutine: with the channel's version at which the
// peer is in it, or with ErrDown when Redis did not answer, and then Leave undoes
// the join. If the peer was in it before, its new metadata may come later (see
// pace). A version of zero means that Redis refused to take it for now, and
// said so in the log. done must not block.
func (t *Tracker) Join(app, channelName, peer string, connection uint64, metadata []byte, done func(presence.Version, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.up {
		return ErrDown
	}
	id := presence.ChannelID{App: app, Channel: channelName}
	c := t.channels[id]
	if c == nil {
		c = &attended{id: id}
		t.channels[id] = c
	}
	key := memberKey{c, peer}
	m := t.members[key]
	if m == nil {
		m = &member{memberKey: key, metadata: metadata}
		t.members[key] = m
		c.members++
	}
	changed := m.connection == 0 || !bytes.Equal(m.metadata, metadata)
	m.metadata = metadata
	m.again = m.add(connection) && !changed || m.again
	m.dirty = m.dirty || changed || m.again
	t.queue = append(t.queue, entry{member: m, done: done})
	t.wake.Set()
	return nil
}

// Leave undoes Join. It is no error if the connection is not in the channel.
func (t *Tracker) Leave(app, channelName, peer string, connection uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.channels[presence.ChannelID{App: app, Channel: channelName}]
	m := t.members[memberKey{c, peer}]
	if c == nil || m == nil || !m.remove(connection) || m.connection != 0 {
		return
	}
	if !m.dirty {
		m.dirty = true
		t.queue = append(t.queue, entry{member: m})
		t.wake.Set()
	}
}

// Restate has everything stated anew, under another identity: Redis may lack the last that it
// was told, as after a failover that no call has noticed.
func (t *Tracker) Restate() { t.doubt.Set() }

// Live says whether Join takes members.
func (t *Tracker) Live() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.up
}

// add says whether the connection is new beside others.
func (m *member) add(connection uint64) bool {
	switch {
	case m.connection == connection:
		return false
	case m.connection == 0:
		m.connection = connection
		return false
	}
	for _, other := range m.others {
		if other == connection {
			return false
		}
	}
	m.others = append(m.others, connection)
	return true
}

func (m *member) remove(connection uint64) bool {
	if m.connection == connection && connection != 0 {
		m.connection = 0
		if last := len(m.others) - 1; last >= 0 {
			m.connection, m.others = m.others[last], m.others[:last]
		}
		return true
	}
	for i, other := range m.others {
		if other == connection {
			last := len(m.others) - 1
			m.others[i], m.others = m.others[last], m.others[:last]
			return true
		}
	}
	return false
}

// isNews says whether Redis must hear of the member. A member that left and is back
// before Redis heard of it has not left.
func (m *member) isNews() bool {
	return !m.known || !m.sure || m.again || m.connection == 0 || !bytes.Equal(m.sent, m.metadata)
}

// forget drops a member that is gone. It is called with t.mu held.
func (t *Tracker) forget(m *member) {
	delete(t.members, m.memberKey)
	if m.channel.members--; m.channel.members == 0 {
		delete(t.channels, m.channel.id)
	}
}
