package registry

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// atOnce bounds the changes of one round trip.
	atOnce = 512
	// retry is the pause after a round trip that failed.
	retry = 100 * time.Millisecond
	// callTime bounds one round trip.
	callTime = 2 * time.Second
)

// Connected is a connection that begins, or has other metadata.
type Connected struct {
	App        *apps.App
	Peer       string
	Connection uint64
	Metadata   []byte // what others see of the peer, or nil
	// Epoch is that of the connection once Redis has told it.
	Epoch *atomic.Uint64
	// Will is the connection's (SetWill.Current).
	Will *atomic.Pointer[Will]
}

// Disconnected is a connection that has ended.
type Disconnected struct {
	App        *apps.App
	Peer       string
	Connection uint64
	Code       int
	Reason     Reason
	Will       bool // it has one
}

// stateQuery asks that a connection be told of a peer's state.
type stateQuery struct {
	app        *apps.App
	peer       string
	connection uint64
}

// change is one of these.
type change struct {
	connected    *Connected
	disconnected *Disconnected
	query        *stateQuery
	will         *SetWill
	call         *redisconn.Call // of the round trip that is under way
}

func (c *change) of() (app, peer string) {
	switch {
	case c.connected != nil:
		return c.connected.App.ID, c.connected.Peer
	case c.disconnected != nil:
		return c.disconnected.App.ID, c.disconnected.Peer
	case c.will != nil:
		return c.will.App.ID, c.will.Peer
	default:
		return c.query.app.ID, c.query.peer
	}
}

// restates is the will that is stated again with a connection, or nil.
func (c *change) restates() *Will {
	if c.connected == nil || c.connected.Will == nil {
		return nil
	}
	return c.connected.Will.Load()
}

// RecorderOptions set a Recorder up.
type RecorderOptions struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Node is the name by which orders reach the node (pkg/orders).
	Node string
	// Process is the publisher of this process (envelope.ID).
	Process uint64
	// Directory is the apps document in force.
	Directory func() *apps.Directory
	// Publisher publishes wills.
	Publisher Publisher
	// Revoked finds out whether a token was revoked, and tells done once, from another
	// goroutine (session.Options).
	Revoked func(g *auth.Grant, done func(revoked bool, err error))
	// WillDue is told what became of each will that was due: "ok", or an error code.
	WillDue func(result string)
	// Connections are those that the node has now: after the call of Connected for each,
	// and before that of Disconnected.
	Connections func() []Connected
	Log         *slog.Logger
}

// Recorder tells Redis which connections begin and end on this node. One goroutine
// (Run) does that, in order; nothing waits for it. It is safe for concurrent use.
type Recorder struct {
	opt  RecorderOptions
	wake batch.Signal
	trims

	mu        sync.Mutex
	queue     []change
	willBytes int    // of the queue's wills
	maxWills  int    // bytes, at most
	identity  string // "": none yet
	former    string
	buckets   map[rediskeys.Bucket]bool // that Redis has as the identity's
	restated  chan struct{}             // closed when all is stated under the identity

	formerBuckets map[rediskeys.Bucket]bool // those of former, until restated

	failing bool // owned by Run
}

// NewRecorder returns a Recorder. It sends nothing before Run runs and Identified
// was called.
func NewRecorder(opt RecorderOptions) *Recorder {
	return &Recorder{opt: opt, wake: batch.NewSignal(), restated: make(chan struct{}), trims: newTrims(), maxWills: maxWaitingWills}
}

// Connected records a connection that was welcomed.
func (r *Recorder) Connected(c Connected) { r.add(change{connected: &c}) }

// Disconnected records its end.
func (r *Recorder) Disconnected(d Disconnected) { r.add(change{disconnected: &d}) }

// State has a connection of this node told whether a peer is online, if it is known: a
// message on the peer's channel of connectivity.
func (r *Recorder) State(app *apps.App, peer string, connection uint64) {
	r.add(change{query: &stateQuery{app, peer, connection}})
}

func (r *Recorder) add(c change) {
	r.mu.Lock()
	r.queue = append(r.queue, c)
	r.mu.Unlock()
	r.wake.Set()
}

// Identified has everything stated anew under another identity of the node
// (members.Options).
func (r *Recorder) Identified(identity string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.former, r.identity = r.identity, identity
	r.formerBuckets, r.buckets = r.buckets, map[rediskeys.Bucket]bool{}
	if r.former != "" {
		r.restated = make(chan struct{})
		// No session ends in here: that it is disconnected comes behind.
		for _, c := range r.opt.Connections() {
			r.queue = append(r.queue, change{connected: &c})
		}
	}
	r.wake.Set()
}

// Run sends changes until ctx ends, and then those that are left.
func (r *Recorder) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { r.trimAll(ctx, r.opt) })
	defer parts.Wait()
	for ctx.Err() == nil {
		var again <-chan time.Time
		for ctx.Err() == nil && r.flush(ctx) && !r.failing {
		}
		if r.failing {
			again = time.After(retry)
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-again:
		}
	}
	for r.flush(ctx) && !r.failing {
	}
}

// flush makes one round trip, and says whether there is more to send.
func (r *Recorder) flush(ctx context.Context) (more bool) {
	r.mu.Lock()
	identity, former, buckets, restated := r.identity, r.former, r.buckets, r.restated
	n := min(len(r.queue), atOnce)
	if n == 0 {
		r.queue = nil
	}
	changes := slices.Clone(r.queue[:n])
	r.mu.Unlock()
	if identity == "" {
		return false
	}
	if n == 0 {
		r.isRestated(ctx, restated)
		return false
	}
	// A node that stops finishes the round trip that is under way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	err := r.send(ctx, changes, identity, former, buckets)
	if r.fails(err) {
		r.answerWills()
		return true // all of it again: what was done already is seen to be
	}
	r.mu.Lock()
	r.queue = r.queue[n:]
	for _, c := range changes {
		if c.will != nil {
			r.willBytes -= c.will.size()
		}
	}
	r.mu.Unlock()
	for _, c := range changes {
		if c.will != nil {
			c.will.answer(nil)
		}
	}
	return true
}

// isRestated notes that everything is stated under the identity, and ends what is left
// of the former. Its lease may have run out before its last changes came.
func (r *Recorder) isRestated(ctx context.Context, restated chan struct{}) {
	select {
	case <-restated:
		return
	default:
		close(restated)
	}
	r.mu.Lock()
	former, buckets := r.former, r.formerBuckets
	r.formerBuckets = nil
	r.mu.Unlock()
	for b := range buckets {
		if err := r.Reap(ctx, former, b); err != nil {
			return // the members' reaper does it as well
		}
	}
}

// fails logs that Redis begins to fail, or is back.
func (r *Recorder) fails(err error) bool {
	if failing := err != nil; failing != r.failing {
		r.failing = failing
		if failing {
			r.opt.Log.Warn("redis does not take which peers are online; it will be told again", "err", err)
		} else {
			r.opt.Log.Info("redis takes again which peers are online")
		}
	}
	return err != nil
}

// send tells Redis of changes.
func (r *Recorder) send(ctx context.Context, changes []change, identity, former string, known map[rediskeys.Bucket]bool) error {
	entered := []any{}
	news := map[rediskeys.Bucket]bool{}
	var sets []deadline.Set
	calls := make([]*redisconn.Call, 1, len(changes)+1)
	for i := range changes {
		c := &changes[i]
		app, peer := c.of()
		b := r.opt.Keys.Bucket(app, peer)
		if c.connected != nil && !known[b] && !news[b] {
			news[b] = true
			entered = append(entered, string(b))
		}
		switch {
		case c.query != nil:
			c.call = stateCall(r.opt.Keys, b, c.query, r.opt.Process)
		case c.will != nil:
			c.call = willCall(b, peer, c.will.Connection, c.will.Will, r.opt.Node, identity, former)
		case c.connected != nil:
			c.call = connectedCall(r.opt.Keys, b, c.connected, r.opt.Node, identity, former)
		default:
			c.call = disconnectedCall(b, c.disconnected, r.opt.Node, identity, former)
			sets = append(sets, deadline.Set{Kind: deadline.Grace, Bucket: b, After: grace(c.disconnected.App.Peers, c.disconnected.Code)})
			if c.disconnected.Will {
				sets = append(sets, c.disconnected.willSet(b))
			}
		}
		calls = append(calls, c.call)
		if w := c.restates(); w != nil {
			calls = append(calls, willCall(b, peer, c.connected.Connection, w, r.opt.Node, identity, former))
		}
	}
	if len(entered) > 0 {
		if err := r.opt.Redis.SAdd(ctx, r.opt.Keys.LeaseBuckets(identity), entered...).Err(); err != nil {
			return err
		}
		for b := range news {
			known[b] = true
		}
	}
	if len(sets) > 0 {
		calls[0] = deadline.Touch(r.opt.Keys, sets...)
	} else {
		calls = calls[1:]
	}
	if err := redisconn.ExecInOrder(ctx, r.opt.Redis, calls); err != nil {
		return err
	}
	for i := range changes {
		if c := &changes[i]; c.connected != nil {
			r.readReply(c)
		}
	}
	return nil
}

// readReply reads Redis's answer to a connection that begins.
func (r *Recorder) readReply(c *change) {
	reply, err := c.call.Reply.Int64Slice()
	if err != nil || len(reply) != 2 {
		return
	}
	c.connected.Epoch.Store(uint64(reply[0]))
	r.counted(c.connected.App, reply[1])
}
