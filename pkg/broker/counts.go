package broker

import (
	"context"
	_ "embed"
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
// each bucket lists the nodes to add up. When a node has died another takes both
// out (fanout/internal/members); if none does, they expire by themselves.

const (
	countsLease   = 30 * time.Second
	countsRenewal = 10 * time.Second
	// countsRetry is how soon counts that Redis refused are written again, while it
	// takes other writes. If it takes none, they are as soon as it does.
	countsRetry = 5 * time.Second
	// complaintGap is the least time between log lines about counts.
	complaintGap = time.Minute
)

//go:embed subscribers.lua
var subscribersLua string

var subscribersScript = redis.NewScript(subscribersLua)

// countCalls count the subscribers of channels on all nodes: of each once, however
// many messages want to know.
type countCalls struct {
	calls []*redisconn.Call
	of    map[string]*redisconn.Call // by topic
}

func (b *Broker) subscribersCalls(counting []*Outgoing) countCalls {
	c := countCalls{of: make(map[string]*redisconn.Call, len(counting))}
	for _, o := range counting {
		if c.of[o.topic] != nil {
			continue
		}
		in := b.opt.Keys.Bucket(o.app, o.name)
		call := &redisconn.Call{
			Script: subscribersScript,
			Keys:   []string{in.SubscriberNodes()},
			Args:   []any{o.name, in.Subscribers("")},
		}
		c.of[o.topic] = call
		c.calls = append(c.calls, call)
	}
	return c
}

// read fills in Subscribers, once Redis has answered.
func (c countCalls) read(counting []*Outgoing) {
	for _, o := range counting {
		if n, err := c.of[o.topic].Reply.Int64(); err == nil && o.nodes > 0 {
			o.Subscribers = n
		}
	}
}

type countChange struct {
	interest    *interest
	subscribers int32
}

// counts writes this node's counts. Only the goroutine of interests.run uses it.
type counts struct {
	redis redis.UniversalClient
	keys  rediskeys.Namespace
	log   *slog.Logger
	node  string // "" until there is an identity
	// reaped says that others take out what is noted in the index of node.
	reaped bool
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

	health     *redisconn.Health
	complained time.Time
}

func (c *counts) init(opt Options) {
	c.redis, c.keys, c.log, c.node, c.health = opt.Redis, opt.Keys, opt.Log, opt.Node, opt.Health
	if opt.AwaitIdentity {
		c.node = ""
	}
	c.leased = map[rediskeys.Bucket]bool{}
	c.stale = map[string]struct{}{}
	c.unwritten = map[rediskeys.Bucket]bool{}
}

// forget makes the next write begin every bucket anew.
func (c *counts) forget() {
	for b := range c.leased {
		c.stale[b.Subscribers(c.node)] = struct{}{}
	}
	clear(c.leased)
	clear(c.unwritten)
}

// rename has everything written under another identity.
func (c *counts) rename(identity string) {
	c.forget()
	c.node, c.reaped = identity, true
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
		key := change.interest.key
		name, b := key.name, c.keys.Bucket(key.app, key.name)
		leased, known := c.leased[b]
		if change.subscribers == 0 {
			p.HDel(ctx, b.Subscribers(c.node), name)
			if known {
				c.leased[b] = false
			}
			continue
		}
		p.HSet(ctx, b.Subscribers(c.node), name, change.subscribers)
		if !leased {
			c.leased[b] = true
			if c.reaped && !known {
				p.SAdd(ctx, c.keys.LeaseBuckets(c.node), string(b))
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
		key := change.interest.key
		c.unwritten[c.keys.Bucket(key.app, key.name)] = true
	}
}

// rewrite has written again what Redis refused, when it is time.
func (c *counts) rewrite(in *interests) {
	switch {
	case !c.health.Up():
		c.retry = time.Time{}
		return
	case len(c.unwritten)+len(c.stale) == 0 || time.Now().Before(c.retry):
		return
	}
	c.retry = time.Now().Add(countsRetry)
	for b := range c.unwritten {
		// Redis's entries may name channels left meanwhile.
		c.stale[b.Subscribers(c.node)] = struct{}{}
		delete(c.leased, b)
	}
	in.recount(c.unwritten)
	clear(c.unwritten)
}

// giveBack takes the counts of a node that has stopped out of Redis; if it
// can't, their leases run out. forget has been called.
func (c *counts) giveBack() {
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
	if now := time.Now(); c.complained.IsZero() || now.Sub(c.complained) >= complaintGap {
		c.complained = now
		c.log.Error("redis does not take this node's subscriber counts: publishes will report too few; repetitions within a minute are not logged", "err", err)
	}
	return nil
}

func (c *counts) lease(ctx context.Context, p redis.Pipeliner, b rediskeys.Bucket) *redis.BoolCmd {
	p.SAdd(ctx, b.SubscriberNodes(), c.node)
	p.Expire(ctx, b.SubscriberNodes(), 2*countsLease)
	return p.Expire(ctx, b.Subscribers(c.node), countsLease)
}

// renew extends the leases when it is time. A hash that is gone although this
// node has subscribers there (Redis was emptied, or failed over to a replica
// that did not have it yet) is written again whole.
func (c *counts) renew(ctx context.Context, in *interests) error {
	now := time.Now()
	if c.renewed.IsZero() {
		c.renewed = now
	}
	if now.Sub(c.renewed) < countsRenewal || len(c.leased) == 0 {
		return nil
	}
	late := now.Sub(c.renewed) > countsLease-countsRenewal/2
	c.renewed = now
	p := c.redis.Pipeline()
	renewals := make(map[rediskeys.Bucket]*redis.BoolCmd, len(c.leased))
	for b := range c.leased {
		renewals[b] = c.lease(ctx, p, b)
	}
	if err := c.failed(exec(ctx, p)); err != nil {
		return err
	}
	gone := map[rediskeys.Bucket]bool{}
	for b, renewal := range renewals {
		if late || !renewal.Val() {
			gone[b] = true
			delete(c.leased, b)
		}
	}
	if len(gone) > 0 {
		in.recount(gone)
	}
	return nil
}

// SetIdentity says under which identity Redis keeps this node's counts from now
// on, which others reap when its lease ends (members.Options.Identified of a node).
func (b *Broker) SetIdentity(identity string) {
	in := b.interests
	in.mu.Lock()
	in.identity = identity
	in.mu.Unlock()
	in.signal()
}

// followIdentity takes up another identity. It is called with in.mu held.
func (in *interests) followIdentity() {
	if in.identity == "" || in.identity == in.counts.node {
		return
	}
	in.counts.rename(in.identity)
	for _, i := range in.wanted {
		if i.key.counted() {
			i.counted = 0
			in.markDirty(i)
		}
	}
}

// recount has the counts of these buckets written again.
func (in *interests) recount(gone map[rediskeys.Bucket]bool) {
	in.mu.Lock()
	for _, i := range in.wanted {
		if i.counted > 0 && gone[in.opt.Keys.Bucket(i.key.app, i.key.name)] {
			i.counted = 0
			in.markDirty(i)
		}
	}
	in.mu.Unlock()
	in.signal()
}
