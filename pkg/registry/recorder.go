package registry

import (
	"cmp"
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

	// Of the round trip that is under way.
	bucket rediskeys.Bucket
	calls  []*redisconn.Call
	err    error
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
	willBytes int                       // of the queue's wills
	maxWills  int                       // bytes, at most
	identity  string                    // "": none yet
	buckets   map[rediskeys.Bucket]bool // that Redis has as the identity's
	restated  chan struct{}             // closed when all is stated under the identity

	// formers are the identities before, the last first. Redis may have connections under any
	// of them: another may follow before all is stated under one.
	formers       []string
	formerBuckets map[string]map[rediskeys.Bucket]bool // by former, until restated

	// Owned by Run. stuck is, on a cluster, changes in buckets whose master does not answer,
	// in order; the other buckets' do not wait for them.
	failing bool
	stuck   map[rediskeys.Bucket][]change
	// belated is the buckets that Redis has yet to be told of, as the master that has the
	// leases did not answer.
	belated map[rediskeys.Bucket]bool
}

// NewRecorder returns a Recorder. It sends nothing before Run runs and Identified
// was called.
func NewRecorder(opt RecorderOptions) *Recorder {
	return &Recorder{
		opt: opt, wake: batch.NewSignal(), restated: make(chan struct{}), trims: newTrims(), maxWills: maxWaitingWills,
		formerBuckets: map[string]map[rediskeys.Bucket]bool{},
		stuck:         map[rediskeys.Bucket][]change{}, belated: map[rediskeys.Bucket]bool{},
	}
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
	if former := r.identity; former != "" {
		if r.stated() {
			r.restated, r.formers, r.formerBuckets = make(chan struct{}), nil, map[string]map[rediskeys.Bucket]bool{}
		}
		r.formers = append([]string{former}, r.formers...)
		r.formerBuckets[former] = r.buckets
		// No session ends in here: that it is disconnected comes behind.
		for _, c := range r.opt.Connections() {
			r.queue = append(r.queue, change{connected: &c})
		}
	}
	r.identity, r.buckets = identity, map[rediskeys.Bucket]bool{}
	r.wake.Set()
}

// Run sends changes until ctx ends, and then those that are left.
func (r *Recorder) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { r.trimAll(ctx, r.opt) })
	defer parts.Wait()
	for ctx.Err() == nil {
		var again <-chan time.Time
		r.unstick()
		for ctx.Err() == nil && r.flush(ctx) && r.goesOn() {
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
	r.unstick()
	for r.flush(ctx) && r.goesOn() {
	}
}

// goesOn says whether Redis takes changes, of some buckets at least.
func (r *Recorder) goesOn() bool { return !r.failing || len(r.stuck) > 0 }

// unstick has everything sent again that a master did not answer to.
func (r *Recorder) unstick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []change
	for _, some := range r.stuck {
		all = append(all, some...)
	}
	if len(all) > 0 {
		clear(r.stuck)
		r.queue = append(all, r.queue...)
	}
}

// flush makes one round trip, and says whether there is more to send.
func (r *Recorder) flush(ctx context.Context) (more bool) {
	r.mu.Lock()
	identity, formers, buckets := r.identity, r.formers, r.buckets
	n := min(len(r.queue), atOnce)
	if n == 0 {
		r.queue = nil
	}
	changes := slices.Clone(r.queue[:n])
	r.mu.Unlock()
	if identity == "" {
		return false
	}
	if n == 0 && len(r.belated) == 0 {
		if len(r.stuck) == 0 {
			r.isRestated(ctx, identity)
		}
		return false
	}
	// A node that stops finishes the round trip that is under way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	err := r.send(ctx, changes, identity, formers, buckets)
	if err != nil && !redisconn.IsCluster(r.opt.Redis) {
		r.fails(err)
		r.answerWills()
		return true // all of it again: what was done already is seen to be
	}
	done := r.setAside(changes)
	if err != nil || len(r.stuck) == 0 {
		r.fails(err)
	}
	r.mu.Lock()
	r.queue = r.queue[n:]
	for _, c := range done {
		if c.will != nil {
			r.willBytes -= c.will.size()
		}
	}
	r.mu.Unlock()
	for _, c := range done {
		if c.will != nil {
			c.will.answer(nil)
		}
	}
	return true
}

// setAside sets changes aside that were not done, with those of their buckets that come behind,
// and returns the others.
func (r *Recorder) setAside(changes []change) (done []change) {
	for _, c := range changes {
		if c.err == nil && r.stuck[c.bucket] == nil {
			done = append(done, c)
			continue
		}
		r.stuck[c.bucket] = append(r.stuck[c.bucket], c)
		if c.will != nil && c.will.Done != nil {
			c.will.answer(notSetYet())
		}
	}
	return done
}

// isRestated notes that everything is stated under the identity, unless the node has another
// by now, and ends what is left of the formers. Their leases may have run out before their last
// changes came.
func (r *Recorder) isRestated(ctx context.Context, identity string) {
	r.mu.Lock()
	if r.identity != identity || len(r.queue) > 0 || r.stated() {
		r.mu.Unlock()
		return
	}
	close(r.restated)
	formers := r.formerBuckets
	r.formerBuckets = nil
	r.mu.Unlock()
	for former, buckets := range formers {
		for b := range buckets {
			if err := r.Reap(ctx, former, b); err != nil {
				return // the members' reaper does it as well
			}
		}
	}
}

// stated says whether all is stated under the identity. r.mu is locked.
func (r *Recorder) stated() bool {
	select {
	case <-r.restated:
		return true
	default:
		return false
	}
}

// fails logs that Redis begins to fail, or is back.
func (r *Recorder) fails(err error) {
	if failing := err != nil; failing != r.failing {
		r.failing = failing
		if failing {
			r.opt.Log.Warn("redis does not take which peers are online; it will be told again", "err", err)
		} else {
			r.opt.Log.Info("redis takes again which peers are online")
		}
	}
}

// send tells Redis of changes. On a cluster each has its own error; that which is returned is
// the first of them. A change is left out behind others that are stuck.
func (r *Recorder) send(ctx context.Context, changes []change, identity string, formers []string, known map[rediskeys.Bucket]bool) error {
	entered := []any{}
	news := map[rediskeys.Bucket]bool{}
	for b := range r.belated {
		news[b] = true
		entered = append(entered, string(b))
	}
	var sets []deadline.Set
	for i := range changes {
		c := &changes[i]
		app, peer := c.of()
		b := r.opt.Keys.Bucket(app, peer)
		c.bucket, c.calls, c.err = b, nil, nil
		if r.stuck[b] != nil {
			continue
		}
		if c.connected != nil && !known[b] && !news[b] {
			news[b] = true
			entered = append(entered, string(b))
		}
		switch {
		case c.query != nil:
			c.calls = append(c.calls, stateCall(r.opt.Keys, b, c.query, r.opt.Process))
		case c.will != nil:
			c.calls = append(c.calls, willCall(b, peer, c.will.Connection, c.will.Will, r.opt.Node, identity, formers))
		case c.connected != nil:
			c.calls = append(c.calls, connectedCall(r.opt.Keys, b, c.connected, r.opt.Node, identity, formers))
		default:
			c.calls = append(c.calls, disconnectedCall(b, c.disconnected, r.opt.Node, identity, formers))
			sets = append(sets, deadline.Set{Kind: deadline.Grace, Bucket: b, After: grace(c.disconnected.App.Peers, c.disconnected.Code)})
			if c.disconnected.Will {
				sets = append(sets, c.disconnected.willSet(b))
			}
		}
		if w := c.restates(); w != nil {
			c.calls = append(c.calls, willCall(b, peer, c.connected.Connection, w, r.opt.Node, identity, formers))
		}
	}
	var entering error
	if len(entered) > 0 {
		entering = r.opt.Redis.SAdd(ctx, r.opt.Keys.LeaseBuckets(identity), entered...).Err()
	}
	switch {
	case entering == nil:
		clear(r.belated)
		for b := range news {
			known[b] = true
		}
	case !redisconn.IsCluster(r.opt.Redis):
		return entering
	default: // that master has the leases; if the node dies before it works, these stay online
		r.belated = news
	}
	return cmp.Or(entering, r.run(ctx, changes, sets))
}

// run makes the round trip.
func (r *Recorder) run(ctx context.Context, changes []change, sets []deadline.Set) (failed error) {
	var calls []*redisconn.Call
	if len(sets) > 0 {
		calls = append(calls, deadline.Touch(r.opt.Keys, sets...))
	}
	for i := range changes {
		calls = append(calls, changes[i].calls...)
	}
	if len(calls) == 0 {
		return nil
	}
	err := redisconn.ExecInOrder(ctx, r.opt.Redis, calls)
	if err != nil && !redisconn.IsCluster(r.opt.Redis) {
		return err
	}
	for i := range changes {
		c := &changes[i]
		for _, call := range c.calls {
			if call.Reply != nil {
				c.err = cmp.Or(c.err, call.Reply.Err())
			}
		}
		if failed = cmp.Or(failed, c.err); c.connected != nil && c.err == nil && len(c.calls) > 0 {
			r.readReply(c)
		}
	}
	return failed
}

// readReply reads Redis's answer to a connection that begins.
func (r *Recorder) readReply(c *change) {
	reply, err := c.calls[0].Reply.Int64Slice()
	if err != nil || len(reply) != 2 {
		return
	}
	c.connected.Epoch.Store(uint64(reply[0]))
	r.counted(c.connected.App, reply[1])
}
