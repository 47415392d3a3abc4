package quota

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// connectionLease is how long Redis keeps a node's count without hearing
	// from it. Protocol §6 promises that what a dead node held is given back
	// within 10 s.
	connectionLease = 8 * time.Second
	leaseRenewal    = 2 * time.Second
	// askedAtOnce bounds those that one run of the script is for, so that Redis is
	// never busy with one for long, and Lua's stack holds their peers.
	askedAtOnce = 512
)

var (
	//go:embed connections.lua
	connectionsLua    string
	connectionsScript = redisconn.NewScript(connectionsLua)

	// ErrConnectionLimit: the app's plan allows no further connection (close 4010).
	ErrConnectionLimit = errors.New("the app's concurrent-connection limit is reached")
	// ErrRevoked: the peer's tokens were revoked when this one had been issued
	// already (close 4001).
	ErrRevoked = errors.New("the token was revoked")

	errStopped = errors.New("the node is going away")
)

// Connections keeps an app's concurrent connections under its plan's cap,
// exactly, across all nodes, and lets none in with a revoked token: both are
// decided in one step. One goroutine (Run) does all talking to Redis for
// this node, one call at a time, so that what it states is never out of order;
// connects that come at the same time share a round trip.
type Connections struct {
	rdb  redis.UniversalClient
	keys rediskeys.Namespace
	node string

	// Lost, if not nil, is called when Redis, or a master of a cluster, has lost data, or another
	// server has taken its place, which may lack the last that this node told the former. It must
	// not block. It is set before Run.
	Lost func()

	mu     sync.Mutex
	shares map[string]*share // by app id; nil once Run has ended
	wake   batch.Signal      // something has changed

	allChecked time.Time // when all epochs were asked for
	epochs     epochs    // owned by Run's goroutine

	answering sync.WaitGroup
}

// share is what this node holds of one app's connections.
type share struct {
	app     *apps.App
	held    int64
	waiting []Applicant
	changed bool
	// life is the most seconds that a token lives that was seen here, and knownLife what of
	// that Redis knows.
	life, knownLife int64
}

// Applicant asks for one connection of an app's plan.
type Applicant struct {
	// Held: it has its connection, and only asks whether another token is revoked.
	Held bool
	App  *apps.App
	// Peer is whose token it has, IssuedAt when that was issued (zero: the token does
	// not tell), and ExpiresAt when it expires. "": it has no token, but a publishable
	// key.
	Peer                string
	IssuedAt, ExpiresAt time.Time
	// Done is told what became of it, once: nil, ErrConnectionLimit, ErrRevoked, or
	// that Redis did not answer. Done is called from another goroutine, one after the
	// other, with no lock held.
	Done func(error)
}

// life is how many seconds the token of the applicant lives, or, if it does not tell
// when it was issued, will live yet; in whole minutes, so that Redis is rarely told.
func (a *Applicant) life() int64 {
	if a.Peer == "" {
		return 0
	}
	const minute = 60
	issued := a.IssuedAt
	if issued.IsZero() {
		issued = time.Now()
	}
	return max(0, (a.ExpiresAt.Unix()-issued.Unix()+minute-1)/minute*minute)
}

// NewConnections returns the ledger of the node with this id. Nothing is
// granted before Run runs.
func NewConnections(rdb redis.UniversalClient, keys rediskeys.Namespace, node string) *Connections {
	return &Connections{rdb: rdb, keys: keys, node: node, shares: map[string]*share{}, wake: batch.NewSignal(), epochs: newEpochs(rdb)}
}

// Acquire takes one connection of the app's plan, which the caller must release
// once.
func (c *Connections) Acquire(a Applicant) {
	life := a.life()
	c.mu.Lock()
	if c.shares == nil {
		c.mu.Unlock()
		a.Done(errStopped)
		return
	}
	s := c.shares[a.App.ID]
	if s == nil {
		s = &share{}
		c.shares[a.App.ID] = s
	}
	s.app, s.life = a.App, max(s.life, life)
	s.waiting = append(s.waiting, a)
	s.changed = true
	c.mu.Unlock()
	c.wake.Set()
}

// Release gives back what one Acquire took.
func (c *Connections) Release(appID string) {
	c.mu.Lock()
	if s := c.shares[appID]; s != nil && s.held > 0 {
		s.held--
		s.changed = true
	}
	c.mu.Unlock()
	c.wake.Set()
}

// Run settles changes as they come and renews the leases, until ctx ends. It
// then gives back everything this node still holds.
func (c *Connections) Run(ctx context.Context) {
	renewal := time.NewTicker(leaseRenewal)
	defer renewal.Stop()
	check := time.NewTicker(epochCheck)
	defer check.Stop()
	defer c.answering.Wait()
	c.settle(ctx, false)
	for {
		select {
		case <-ctx.Done():
			c.giveBack()
			return
		case <-renewal.C:
			c.settle(ctx, true)
		case <-check.C:
			c.settle(ctx, false)
		case <-c.wake:
			c.settle(ctx, false)
		}
	}
}

// round is what Redis is told of one app at once.
type round struct {
	appID string
	asked []Applicant
	life  int64 // what Redis is told of share.life
	call  *redisconn.Call
}

// settle tells Redis what this node holds and asks for what is waited for.
func (c *Connections) settle(ctx context.Context, renew bool) {
	rounds := c.rounds(renew)
	calls := make([]*redisconn.Call, 0, len(rounds)+1)
	for _, r := range rounds {
		calls = append(calls, r.call)
	}
	// Last, so that it tells whether Redis still had everything when it decided.
	which := c.checked(rounds)
	check := c.epochs.calls(c.keys, which)
	sent := time.Now()
	c.trip(ctx, append(calls, check...))
	lost := c.epochs.lost(which, check, sent)
	if c.Lost != nil && slices.ContainsFunc(lost, func(n int) bool { return c.epochs[n].other }) {
		c.Lost()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restate(rounds, lost)
	for _, r := range rounds {
		if c.isIn(lost, r.appID) {
			continue
		}
		s := c.shares[r.appID]
		reply, err := r.call.Reply.Int64Slice()
		if err != nil {
			s.changed = true // state it again with the next change or renewal
		} else {
			s.knownLife = max(s.knownLife, r.life)
		}
		for i := range r.asked {
			if err == nil && reply[i] == granted && !r.asked[i].Held {
				s.held++
			}
		}
		if len(r.asked) > 0 {
			c.answering.Go(func() { r.answer(reply, err) })
		}
		if s.held == 0 && len(s.waiting) == 0 && !s.changed {
			delete(c.shares, r.appID)
		}
	}
}

// trip runs the calls, each of which has its error. On a cluster it is bounded as a whole: the
// apps of all masters wait for one that does not answer a connection, and then not the calls.
func (c *Connections) trip(ctx context.Context, calls []*redisconn.Call) {
	if redisconn.IsCluster(c.rdb) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, checkTimeout)
		defer cancel()
	}
	_ = redisconn.Exec(ctx, c.rdb, calls)
}

// checked is which epochs to ask for: those of the rounds, and from time to time all.
func (c *Connections) checked(rounds []round) (which []int) {
	asked := make([]bool, len(c.epochs))
	all := len(c.epochs) == 1 || time.Since(c.allChecked) >= epochCheck/2 // a tick may come early
	for _, r := range rounds {
		asked[c.epochs.of(r.call.Keys[0])] = true
	}
	for i := range asked {
		if all || asked[i] {
			which = append(which, i)
		}
	}
	if all {
		c.allChecked = time.Now()
	}
	return which
}

// rounds is what to tell Redis, and to ask it.
func (c *Connections) rounds(renew bool) []round {
	c.mu.Lock()
	defer c.mu.Unlock()
	var rounds []round
	for id, s := range c.shares {
		r := round{appID: id}
		admits := c.epochs.settled(c.keys.Connections(id))
		if admits {
			r.asked = batch.Take(&s.waiting, askedAtOnce)
		}
		if !renew && !s.changed && len(r.asked) == 0 {
			continue
		}
		if renew || s.life > s.knownLife {
			r.life = s.life
		}
		r.call = c.call(id, s.held, s.limit(), r.life, renew, r.asked)
		rounds = append(rounds, r)
		if s.changed = admits && len(s.waiting) > 0; s.changed {
			c.wake.Set()
		}
	}
	return rounds
}

// restate sends everything anew to a Redis that has lost it, on a cluster to those masters.
// Connections that it granted meanwhile do not count, and are asked for again when the others
// have restated theirs. It is called with c.mu held.
func (c *Connections) restate(rounds []round, lost []int) {
	if len(lost) == 0 {
		return
	}
	for _, r := range rounds {
		if s := c.shares[r.appID]; c.isIn(lost, r.appID) {
			s.waiting = append(r.asked, s.waiting...)
		}
	}
	for id, s := range c.shares {
		if c.isIn(lost, id) {
			s.changed, s.knownLife = true, 0
		}
	}
	c.wake.Set()
}

// isIn says whether one of these epochs is that of what an app has.
func (c *Connections) isIn(some []int, appID string) bool {
	return len(some) > 0 && slices.Contains(some, c.epochs.of(c.keys.Connections(appID)))
}

// Answers of connections.lua to each request.
const (
	granted = 1
	revoked = -1
)

// answer tells all that asked what Redis said.
func (r *round) answer(reply []int64, err error) {
	for i, a := range r.asked {
		verdict := err
		if err == nil {
			switch reply[i] {
			case granted:
			case revoked:
				verdict = ErrRevoked
			default:
				verdict = ErrConnectionLimit
			}
		}
		a.Done(verdict)
	}
}

// limit is how many connections the app may have.
func (s *share) limit() int64 {
	if s.app.Plan.Overages() {
		return Unlimited
	}
	return s.app.Plan.MaxConcurrentConnections
}

func (c *Connections) call(appID string, held, limit, life int64, renew bool, asked []Applicant) *redisconn.Call {
	peak, expiresAt := Peak(c.keys, appID, time.Now())
	call := &redisconn.Call{
		Script: connectionsScript,
		Keys: []string{c.keys.Connections(appID), c.keys.ConnectionLeases(appID), peak, c.keys.Revoked(appID),
			c.keys.TokenLife(appID), c.keys.RevokedSince(appID)},
		Args: append(make([]any, 0, 8+4*len(asked)), c.node, held, limit, connectionLease.Milliseconds(), expiresAt.Unix(),
			HoldersKept.Milliseconds(), life, number(renew)),
	}
	for _, a := range asked {
		call.Args = append(call.Args, a.Peer, a.IssuedAt.Unix(), a.ExpiresAt.Unix(), number(!a.Held))
	}
	return call
}

// number is what the script takes for b.
func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// giveBack empties this node's share, so that a node which stopped in order
// leaves nothing to expire. Waiting calls are refused.
func (c *Connections) giveBack() {
	c.mu.Lock()
	var calls []*redisconn.Call
	var waiting []Applicant
	for id, s := range c.shares {
		calls = append(calls, c.call(id, 0, Unlimited, 0, false, nil))
		waiting = append(waiting, s.waiting...)
	}
	c.shares = nil
	c.mu.Unlock()
	for _, a := range waiting {
		a.Done(errStopped)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = redisconn.Exec(ctx, c.rdb, calls) // without Redis the leases run out by themselves
}
