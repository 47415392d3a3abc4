package receiver

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Each node keeps in Redis how many of its connections are subscribed to each
// channel by name, so that a publish can answer how many there are on all nodes
// (protocol §5, subscribers), in one hash per node and bucket of channels; a set in
// each bucket lists the nodes to add up. When a node has died another removes
// both (fanout/internal/members); if none does, they expire by themselves.

const (
	countsLease   = 30 * time.Second
	countsRenewal = 10 * time.Second
	// countsRetry is how soon counts that Redis refused are written again, while it
	// takes other writes. If it takes none, they are as soon as it does.
	countsRetry = 5 * time.Second
	// countsLogged is the least time between log lines about counts.
	countsLogged = time.Minute
)

type countChange struct {
	of          *subscription
	subscribers int32
}

// counts writes this node's counts. Only the goroutine of keepLink uses it.
type counts struct {
	redis redis.UniversalClient
	keys  rediskeys.Namespace
	log   *slog.Logger
	// identity is what Redis keeps them under; "": it is not known yet. Other nodes
	// remove those of an identity whose lease has expired, in the buckets noted with
	// the lease.
	identity string
	// leased is the buckets that have counts of this node, and a lease. At false a
	// count was taken out since: if it was the last, Redis has dropped the hash
	// and its lease.
	leased map[rediskeys.Bucket]bool
	// stale is the hashes written before the link was lost, or under a former
	// identity. They may name channels left meanwhile.
	stale   map[string]struct{}
	renewed time.Time
	// unwritten is the buckets with counts that Redis refused. They are written anew,
	// whole, at retry.
	unwritten map[rediskeys.Bucket]bool
	retry     time.Time

	health *redisconn.Health
	logged time.Time
}

func newCounts(opt Options) counts {
	return counts{
		redis: opt.Redis, keys: opt.Keys, log: opt.Log, health: opt.Health,
		leased: map[rediskeys.Bucket]bool{}, stale: map[string]struct{}{}, unwritten: map[rediskeys.Bucket]bool{},
	}
}

// forget makes the next write begin every bucket anew.
func (c *counts) forget() {
	for b := range c.leased {
		c.stale[b.Subscribers(c.identity)] = struct{}{}
	}
	clear(c.leased)
	clear(c.unwritten)
}

// rename has everything written under another identity.
func (c *counts) rename(identity string) {
	c.forget()
	c.identity = identity
}

func (c *counts) write(ctx context.Context, changes []countChange) error {
	if len(changes) == 0 && len(c.stale) == 0 {
		return nil
	}
	p := c.redis.Pipeline()
	for hash := range c.stale {
		p.Del(ctx, hash)
	}
	for _, change := range changes {
		key := change.of.key
		name, b := key.name, c.keys.Bucket(key.app, key.name)
		leased, known := c.leased[b]
		if change.subscribers == 0 {
			p.HDel(ctx, b.Subscribers(c.identity), name)
			if known {
				c.leased[b] = false
			}
			continue
		}
		p.HSet(ctx, b.Subscribers(c.identity), name, change.subscribers)
		if !leased {
			c.leased[b] = true
			if !known {
				p.SAdd(ctx, c.keys.LeaseBuckets(c.identity), string(b))
			}
			c.lease(ctx, p, b)
		}
	}
	if err := exec(ctx, p); err != nil {
		c.refused(changes)
		return c.failed(err)
	}
	clear(c.stale)
	return nil
}

// refused notes what may not have been written.
func (c *counts) refused(changes []countChange) {
	if c.health.Up() {
		c.retry = time.Now().Add(countsRetry)
	} else {
		c.retry = time.Time{}
	}
	for _, change := range changes {
		key := change.of.key
		c.unwritten[c.keys.Bucket(key.app, key.name)] = true
	}
}

// takeUnwritten takes the buckets that must be written again as Redis refused them, or
// returns nil: it is not time. There are none if only stale hashes must be removed.
func (c *counts) takeUnwritten() (refused map[rediskeys.Bucket]bool) {
	switch {
	case !c.health.Up():
		c.retry = time.Time{}
		return nil
	case len(c.unwritten)+len(c.stale) == 0 || time.Now().Before(c.retry):
		return nil
	}
	c.retry = time.Now().Add(countsRetry)
	for b := range c.unwritten {
		// Redis's entries may name channels left meanwhile.
		c.stale[b.Subscribers(c.identity)] = struct{}{}
		delete(c.leased, b)
	}
	refused, c.unwritten = c.unwritten, map[rediskeys.Bucket]bool{}
	return refused
}

// release removes the counts of a node that has stopped from Redis; if it
// can't, their leases expire. forget has been called.
func (c *counts) release() {
	if len(c.stale) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.write(ctx, nil)
}

func exec(ctx context.Context, p redis.Pipeliner) error {
	_, err := p.Exec(ctx)
	return err
}

// failed passes on an error that the link to Redis must be made anew for. A
// Redis that answers but takes no counts (it is out of memory) still carries
// messages.
func (c *counts) failed(err error) error {
	if err == nil || redisconn.Unreachable(err) || errors.Is(err, context.Canceled) {
		return err
	}
	c.health.Observe(err)
	if now := time.Now(); c.logged.IsZero() || now.Sub(c.logged) >= countsLogged {
		c.logged = now
		c.log.Error("redis does not take this node's subscriber counts: publishes will report too few; repetitions within a minute are not logged", "err", err)
	}
	return nil
}

func (c *counts) lease(ctx context.Context, p redis.Pipeliner, b rediskeys.Bucket) *redis.BoolCmd {
	p.SAdd(ctx, b.SubscriberNodes(), c.identity)
	p.Expire(ctx, b.SubscriberNodes(), 2*countsLease)
	return p.Expire(ctx, b.Subscribers(c.identity), countsLease)
}

// renew extends the leases when it is time. A hash that is gone although this
// node has subscribers there (Redis was emptied, or failed over to a replica
// that did not have it yet) must be written again whole.
func (c *counts) renew(ctx context.Context) (gone map[rediskeys.Bucket]bool, err error) {
	now := time.Now()
	if c.renewed.IsZero() {
		c.renewed = now
	}
	if now.Sub(c.renewed) < countsRenewal || len(c.leased) == 0 {
		return nil, nil
	}
	late := now.Sub(c.renewed) > countsLease-countsRenewal/2
	c.renewed = now
	p := c.redis.Pipeline()
	renewals := make(map[rediskeys.Bucket]*redis.BoolCmd, len(c.leased))
	for b := range c.leased {
		renewals[b] = c.lease(ctx, p, b)
	}
	if err := c.failed(exec(ctx, p)); err != nil {
		return nil, err
	}
	gone = map[rediskeys.Bucket]bool{}
	for b, renewal := range renewals {
		if late || !renewal.Val() {
			gone[b] = true
			delete(c.leased, b)
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	return gone, nil
}

// tendCounts extends the leases of the counts, and has those written again that Redis has
// refused or lost.
func (r *Receiver) tendCounts(ctx context.Context) error {
	r.recount(r.counts.takeUnwritten())
	gone, err := r.counts.renew(ctx)
	r.recount(gone)
	return err
}

// followIdentity takes up another identity. It is called with r.mu held.
func (r *Receiver) followIdentity() {
	if r.identity == "" || r.identity == r.counts.identity {
		return
	}
	r.counts.rename(r.identity)
	for _, s := range r.wanted {
		if s.key.counted() {
			s.counted = 0
			r.markChanged(s)
		}
	}
}

// recount has the counts of these buckets written again, and stale hashes removed; with
// nil nothing is done.
func (r *Receiver) recount(buckets map[rediskeys.Bucket]bool) {
	if buckets == nil {
		return
	}
	r.mu.Lock()
	for _, s := range r.wanted {
		if s.counted > 0 && buckets[r.opt.Keys.Bucket(s.key.app, s.key.name)] {
			s.counted = 0
			r.markChanged(s)
		}
	}
	r.mu.Unlock()
	r.wake.Set()
}
