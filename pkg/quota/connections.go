package quota

import (
	"context"
	_ "embed"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
)

const (
	// connectionLease is how long Redis keeps a node's count without hearing
	// from it. Protocol §6 promises that what a dead node held is given back
	// within 30 s.
	connectionLease = 20 * time.Second
	leaseRenewal    = 5 * time.Second
)

var (
	//go:embed connections.lua
	connectionsLua    string
	connectionsScript = redis.NewScript(connectionsLua)

	// ErrConnectionLimit: the app's plan allows no further connection (close 4010).
	ErrConnectionLimit = errors.New("the app's concurrent-connection limit is reached")

	errStopped = errors.New("the node is going away")
)

// Connections keeps an app's concurrent connections under its plan's cap,
// exactly, across all nodes. One goroutine (Run) does all talking to Redis for
// this node, one call at a time, so that what it states is never out of order;
// connects that come at the same time share a round trip.
type Connections struct {
	rdb  redis.UniversalClient
	node string

	mu     sync.Mutex
	shares map[string]*share // by app id; nil once Run has ended
	wake   chan struct{}
}

// share is what this node holds of one app's connections.
type share struct {
	app     *apps.App
	held    int64
	waiting []chan error
	changed bool
}

// NewConnections returns the ledger of the node with this id. Nothing is
// granted before Run runs.
func NewConnections(rdb redis.UniversalClient, node string) *Connections {
	return &Connections{rdb: rdb, node: node, shares: map[string]*share{}, wake: make(chan struct{}, 1)}
}

// Acquire takes one connection of the app's plan and waits until Redis has
// granted it. The error is ErrConnectionLimit, or that Redis did not answer.
// What was acquired must be released once.
func (c *Connections) Acquire(ctx context.Context, app *apps.App) error {
	answer := make(chan error, 1)
	c.mu.Lock()
	if c.shares == nil {
		c.mu.Unlock()
		return errStopped
	}
	s := c.shares[app.ID]
	if s == nil {
		s = &share{}
		c.shares[app.ID] = s
	}
	s.app = app
	s.waiting = append(s.waiting, answer)
	s.changed = true
	c.mu.Unlock()
	c.signal()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		go func() { // the grant may still come: hand it back
			if <-answer == nil {
				c.Release(app.ID)
			}
		}()
		return ctx.Err()
	}
}

// Release gives back what one Acquire took.
func (c *Connections) Release(appID string) {
	c.mu.Lock()
	if s := c.shares[appID]; s != nil && s.held > 0 {
		s.held--
		s.changed = true
	}
	c.mu.Unlock()
	c.signal()
}

func (c *Connections) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run settles changes as they come and renews the leases, until ctx ends. It
// then gives back everything this node still holds.
func (c *Connections) Run(ctx context.Context) {
	renewal := time.NewTicker(leaseRenewal)
	defer renewal.Stop()
	for {
		select {
		case <-ctx.Done():
			c.giveBack()
			return
		case <-renewal.C:
			c.settle(ctx, true)
		case <-c.wake:
			c.settle(ctx, false)
		}
	}
}

// settle tells Redis what this node holds and asks for what is waited for.
func (c *Connections) settle(ctx context.Context, renew bool) {
	type round struct {
		appID   string
		waiting []chan error
		call    *redisconn.Call
	}
	var rounds []round
	c.mu.Lock()
	for id, s := range c.shares {
		if !s.changed && !renew {
			continue
		}
		limit := s.app.Plan.MaxConcurrentConnections
		if s.app.Plan.Overages() {
			limit = Unlimited
		}
		rounds = append(rounds, round{id, s.waiting, c.call(id, s.held, len(s.waiting), limit)})
		s.waiting, s.changed = nil, false
	}
	c.mu.Unlock()
	if len(rounds) == 0 {
		return
	}

	calls := make([]*redisconn.Call, len(rounds))
	for i := range rounds {
		calls[i] = rounds[i].call
	}
	_ = redisconn.Exec(ctx, c.rdb, calls) // each reply is read below

	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rounds {
		s := c.shares[r.appID]
		granted := 0
		reply, err := r.call.Reply.Int64Slice()
		if err == nil {
			granted = int(reply[0])
			err = ErrConnectionLimit
		} else {
			s.changed = true // state it again with the next change or renewal
		}
		s.held += int64(granted)
		for i, answer := range r.waiting {
			if i < granted {
				answer <- nil
			} else {
				answer <- err
			}
		}
		if s.held == 0 && len(s.waiting) == 0 && !s.changed {
			delete(c.shares, r.appID)
		}
	}
}

func (c *Connections) call(appID string, held int64, wanted int, limit int64) *redisconn.Call {
	key := "fw:{" + appID + "}:connections"
	peak, expiresAt := Peak(appID, time.Now())
	return &redisconn.Call{
		Script: connectionsScript,
		Keys:   []string{key, key + ":leases", peak},
		Args:   []any{c.node, held, wanted, limit, connectionLease.Milliseconds(), expiresAt.Unix()},
	}
}

// giveBack empties this node's share, so that a node which stopped in order
// leaves nothing to run out. Whoever still waits is turned away.
func (c *Connections) giveBack() {
	c.mu.Lock()
	var calls []*redisconn.Call
	for id, s := range c.shares {
		calls = append(calls, c.call(id, 0, 0, Unlimited))
		for _, answer := range s.waiting {
			answer <- errStopped
		}
	}
	c.shares = nil
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = redisconn.Exec(ctx, c.rdb, calls) // without Redis the leases run out by themselves
}
