package receiver

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
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
	// countsPatience bounds a write to a cluster, of which one master may hang: all others'
	// subscriptions wait for it.
	countsPatience = time.Second
	// countsLogged is the least time between log lines about counts.
	countsLogged = time.Minute
)

// countChange is what Redis is to keep of a subscription: of one by name how many
// subscribers there are, of the topic of all channels that a node wants them.
type countChange struct {
	of          *subscription
	subscribers int32
	key         *redis.StatusCmd // with the latter
}

// counts writes this node's counts.
type counts struct {
	redis  redis.UniversalClient
	keys   rediskeys.Namespace
	log    *slog.Logger
	health *redisconn.Health
	// cluster: the Redis that takes the counts may be another than that of a link.
	cluster bool
	mu      *sync.Mutex // Receiver.mu; it guards all below writing
	writing sync.Mutex  // has one shard write at a time, as each builds on what was written before

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

	logged time.Time
}

func newCounts(r *Receiver) *counts {
	return &counts{
		cluster: r.cluster != nil, redis: r.opt.Redis, keys: r.opt.Keys, log: r.opt.Log, health: r.opt.Health, mu: &r.mu,
		leased: map[rediskeys.Bucket]bool{}, stale: map[string]struct{}{}, unwritten: map[rediskeys.Bucket]bool{},
	}
}

// forget makes the next write begin these buckets anew. It is called with mu held.
func (c *counts) forget(these func(rediskeys.Bucket) bool) {
	for b := range c.leased {
		if these(b) {
			c.stale[b.Subscribers(c.identity)] = struct{}{}
			delete(c.leased, b)
		}
	}
	maps.DeleteFunc(c.unwritten, func(b rediskeys.Bucket, _ bool) bool { return these(b) })
}

// rename has everything written under another identity. It is called with mu held.
func (c *counts) rename(identity string) {
	c.forget(func(rediskeys.Bucket) bool { return true })
	c.identity = identity
}

// write has Redis keep these counts.
func (c *counts) write(ctx context.Context, changes []countChange) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	if len(changes) == 0 && len(c.stale) == 0 {
		c.mu.Unlock()
		return nil
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	p := c.redis.Pipeline()
	stale := slices.Collect(maps.Keys(c.stale))
	for _, hash := range stale {
		p.Del(ctx, hash)
	}
	of := c.queue(ctx, p, changes)
	c.mu.Unlock()
	cmds, err := p.Exec(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, hash := range stale {
		if err == nil || c.cluster && cmds[i].Err() == nil {
			delete(c.stale, hash)
		}
	}
	if err == nil {
		return nil
	}
	for i, b := range of {
		if !c.cluster || cmds[len(stale)+i].Err() != nil { // on a cluster, the others may be elsewhere
			c.unwritten[b] = true
		}
	}
	c.retry = time.Time{}
	if c.health.Up() {
		c.retry = time.Now().Add(countsRetry)
	}
	return c.failed(err)
}

// bounded is a context for a write.
func (c *counts) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if !c.cluster {
		return ctx, func() {}
	}
	return context.WithTimeout(redisconn.Alone(ctx), countsPatience)
}

// queue puts the commands for these counts into a pipeline, and returns which bucket each of
// them is for. It is called with mu held.
func (c *counts) queue(ctx context.Context, p redis.Pipeliner, changes []countChange) (of []rediskeys.Bucket) {
	for _, change := range changes {
		key := change.of.key
		if key.all {
			continue // shard.setWildcards sets it
		}
		name, b := key.name, c.keys.Bucket(key.app, key.name)
		before := p.Len()
		switch leased, known := c.leased[b]; {
		case change.subscribers == 0:
			p.HDel(ctx, b.Subscribers(c.identity), name)
			if known {
				c.leased[b] = false
			}
		case leased:
			p.HSet(ctx, b.Subscribers(c.identity), name, change.subscribers)
		default:
			p.HSet(ctx, b.Subscribers(c.identity), name, change.subscribers)
			c.leased[b] = true
			if !known {
				p.SAdd(ctx, c.keys.LeaseBuckets(c.identity), string(b))
			}
			c.lease(ctx, p, b)
		}
		for range p.Len() - before {
			of = append(of, b)
		}
	}
	return of
}

// takeUnwritten takes the buckets that must be written again as Redis refused them, or
// returns nil: it is not time. There are none if only stale hashes must be removed. It is
// called with mu held.
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.write(ctx, nil)
}

func exec(ctx context.Context, p redis.Pipeliner) error {
	_, err := p.Exec(ctx)
	return err
}

// failed passes on an error that the link to Redis must be made anew for. A
// Redis that answers but takes no counts (it is out of memory, or a replica) still carries
// messages. The probe finds a link that leads to the wrong one. It is called with mu held.
func (c *counts) failed(err error) error {
	if c.cluster && err != nil && redisconn.Unreachable(err) {
		c.health.Observe(err)
		c.retry = time.Time{}
		return nil // the link may be to a master that works
	}
	if err == nil || redisconn.Unreachable(err) && !redis.HasErrorPrefix(err, "READONLY ") || errors.Is(err, context.Canceled) {
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
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.renewed.IsZero() {
		c.renewed = now
	}
	if now.Sub(c.renewed) < countsRenewal || len(c.leased) == 0 {
		return nil, nil
	}
	late := now.Sub(c.renewed) > countsLease-countsRenewal/2
	c.renewed = now
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	p := c.redis.Pipeline()
	renewals := make(map[rediskeys.Bucket]*redis.BoolCmd, len(c.leased))
	for b := range c.leased {
		renewals[b] = c.lease(ctx, p, b)
	}
	c.mu.Unlock()
	err = exec(ctx, p)
	c.mu.Lock()
	if err = c.failed(err); err != nil {
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
	r.mu.Lock()
	unwritten := r.counts.takeUnwritten()
	r.mu.Unlock()
	r.recount(unwritten)
	gone, err := r.counts.renew(ctx)
	r.recount(gone)
	if err == nil && r.cluster != nil {
		r.renewWildcards(ctx)
	}
	return err
}

// followIdentity takes up another identity. It is called with r.mu held.
func (r *Receiver) followIdentity() {
	if r.identity == "" || r.identity == r.counts.identity {
		return
	}
	r.counts.rename(r.identity)
	for _, sh := range r.shards {
		for _, s := range sh.wanted {
			if s.key.counted() {
				s.counted = 0
				sh.markChanged(s)
			}
		}
		sh.wake.Set()
	}
}

// recount has the counts of these buckets written again, and stale hashes removed; with
// nil nothing is done.
func (r *Receiver) recount(buckets map[rediskeys.Bucket]bool) {
	if buckets == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sh := range r.shards {
		for _, s := range sh.wanted {
			if s.counted > 0 && s.key.counted() && buckets[r.bucketOf(s.key)] {
				s.counted = 0
				sh.markChanged(s)
			}
		}
		sh.wake.Set()
	}
}
