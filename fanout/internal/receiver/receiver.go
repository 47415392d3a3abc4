// Package receiver brings a node what others publish in Redis: messages of the
// channels and to the peers that it has connections for, and announcements of
// presence. pkg/publish is the other end.
//
// It promises:
//
//   - At most once. A message that Redis took reaches every node that is
//     subscribed at that moment; what is published while a node's link to Redis
//     is down is not delivered to that node later.
//   - In order. Messages published in order arrive in that order on every node,
//     per app; on a Redis Cluster, per channel.
//   - Once. A node gets a message once, however many of its subscriptions and
//     patterns match.
//   - No call blocks: one goroutine delivers what has come meanwhile, a part for
//     each app in turn, so that no app waits for all that another has. While it
//     works, what arrives is set aside, so Redis never waits for a node. Changes of
//     subscriptions never wait for Redis.
package receiver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// ErrDown: the link to Redis is down; nothing was subscribed.
var ErrDown = errors.New("redis is not reachable")

// Options set a Receiver up.
type Options struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Health learns what Redis says to this process. While Run runs it is right.
	Health *redisconn.Health
	Log    *slog.Logger
	// Node is this process's name in Redis, unique among all that run.
	Node string
	// Process is the publisher of this process (envelope.ID): its messages keep the
	// connection that published them. 0: there is none.
	Process uint64
	// Patience is how long the link may bring nothing, and a probe may be on its way, before
	// the link is given up. 0, as in nodes: linkSilence, and probePatience. Tests set it that must
	// lose no link because the machine is busy.
	Patience time.Duration
}

// Receiver receives for a node, once Run runs. Callers change what it is to
// receive; a goroutine for each shard makes Redis follow, many changes at a time.
type Receiver struct {
	opt    Options
	inbox  *inbox
	pause  func(context.Context, time.Duration) // sleep, or a test's
	counts *counts
	// cluster is nil on one server.
	cluster *cluster

	restored func() // or nil

	mu              sync.Mutex // guards all below, and what the shards and counts say that it guards
	shards          []*shard
	globs           globs
	identity        string // under which counts are kept; "": it is not known yet
	refusalReported time.Time
	patience        time.Duration // of probes
}

// New returns a Receiver.
func New(opt Options) *Receiver {
	r := &Receiver{opt: opt, inbox: newInbox(), pause: sleep, globs: newGlobs(), patience: cmp.Or(opt.Patience, probePatience)}
	if client, ok := opt.Redis.(*redis.ClusterClient); ok {
		r.cluster = newCluster(r, client)
		r.shards = []*shard{r.cluster.nowhere}
	} else {
		r.shards = []*shard{newShard(r, newProber(opt.Redis, placeOnServer(opt.Keys, opt.Node)))}
	}
	r.counts = newCounts(r)
	return r
}

// shardOf is the shard of a topic, or of any name that has its slot. It is called with
// r.mu held.
func (r *Receiver) shardOf(topic string) *shard {
	if r.cluster == nil {
		return r.shards[0]
	}
	return r.cluster.routes[rediskeys.Slot(topic)]
}

// lookForMasters has the topology of a cluster read, as it may have changed.
func (r *Receiver) lookForMasters() {
	if r.cluster != nil {
		r.cluster.wake.Set()
	}
}

// SetSubscribers says how many connections of this node are subscribed to the
// channel by name. While there is at least one, the channel's messages come in.
//
// With a done, the change is made only while the link to Redis is up (else the
// error is ErrDown, and nothing has changed); done is called once, from another
// goroutine and after SetSubscribers returned: with nil when Redis has confirmed
// everything, with ErrDown when the link was lost before, or with a RefusedError;
// in both cases the caller states the number anew. done must not block.
// A RefusedError is also returned, when Redis has just refused the same.
//
// With done nil it always works: Redis is sent the change when it can be.
func (r *Receiver) SetSubscribers(app, channelName string, n int, done func(error)) error {
	return r.set(subscriptionKey{app: app, name: channelName}, n, done)
}

// SetConnections says how many connections of this node the peer has. While
// there is at least one, direct messages to it come in.
// done is as in SetSubscribers.
func (r *Receiver) SetConnections(app, peer string, n int, done func(error)) error {
	return r.set(subscriptionKey{kind: envelope.KindPeer, app: app, name: peer}, n, done)
}

// SetWatchers says how many connections of this node watch who joins and leaves
// the channel: fanout/internal/members publishes that. An announcement twice in a
// row counts once. done is as in SetSubscribers.
func (r *Receiver) SetWatchers(app, channelName string, n int, done func(error)) error {
	return r.set(subscriptionKey{kind: envelope.KindPresence, app: app, name: channelName}, n, done)
}

// AddPattern asks for the messages of all channels of the app that the pattern
// matches, until RemovePattern has been called as often. More may come in than
// the pattern matches: the caller filters. done is as in SetSubscribers, and
// must not be nil.
func (r *Receiver) AddPattern(app string, p *channel.Pattern, done func(error)) error {
	return r.setPattern(envelope.KindMessages, app, p.RedisGlob(), true, done)
}

// RemovePattern takes back one AddPattern.
func (r *Receiver) RemovePattern(app string, p *channel.Pattern) {
	_ = r.setPattern(envelope.KindMessages, app, p.RedisGlob(), false, nil)
}

// AddWatchPattern asks for who joins and leaves the channels that the pattern
// matches, until RemoveWatchPattern has been called as often. The rest is as in
// AddPattern.
func (r *Receiver) AddWatchPattern(app string, p *channel.Pattern, done func(error)) error {
	return r.setPattern(envelope.KindPresence, app, p.RedisGlob(), true, done)
}

// RemoveWatchPattern takes back one AddWatchPattern.
func (r *Receiver) RemoveWatchPattern(app string, p *channel.Pattern) {
	_ = r.setPattern(envelope.KindPresence, app, p.RedisGlob(), false, nil)
}

// SetIdentity names the identity under which Redis keeps this node's counts of
// subscribers from now on. Other nodes remove them when its lease has expired
// (fanout/internal/members). Until it is called, none are kept.
func (r *Receiver) SetIdentity(identity string) {
	r.mu.Lock()
	r.identity = identity
	r.mu.Unlock()
	r.wakeShards()
}

// wakeShards has every shard send what has changed.
func (r *Receiver) wakeShards() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sh := range r.shards {
		sh.wake.Set()
	}
}

// Live says whether the link to Redis is up and a probe came in on it, and
// everything wanted when it came up is subscribed, but for what Redis refuses.
// Later requests learn of it by their done.
func (r *Receiver) Live() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sh := range r.shards {
		if !sh.proven() || sh.unconfirmed > 0 {
			return false
		}
	}
	return true
}

// Serves says whether subscriptions come to be of some Redis at least: on a cluster, the link
// to a master is up and delivers. Those of other masters are refused meanwhile.
func (r *Receiver) Serves() bool {
	if r.cluster == nil {
		return r.Live()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.shards, (*shard).proven)
}

// Trouble is why the link to Redis was lost, until it is proven to work again;
// then nil.
func (r *Receiver) Trouble() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sh := range r.shards {
		if sh.trouble != nil {
			return sh.named(sh.trouble)
		}
	}
	return nil
}

// Masters says of each master of a cluster, by its address, whether it works and its link
// delivers. Without a cluster there are none.
func (r *Receiver) Masters() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	work := map[string]bool{}
	for _, sh := range r.shards {
		if sh.addr != "" {
			work[sh.addr] = sh.proven() && sh.health.Up()
		}
	}
	return work
}

// OnRestored has f called each time that the link to Redis has come up and
// everything wanted is subscribed again, unless nothing is wanted. Messages
// published before that may be lost. f must not block. Set it before Run.
func (r *Receiver) OnRestored(f func()) { r.restored = f }

// Run receives until ctx ends, and calls deliver with what came, each app's messages
// in order. It keeps Options.Health true.
func (r *Receiver) Run(ctx context.Context, deliver Deliver) {
	var parts sync.WaitGroup
	parts.Go(func() { r.inbox.run(ctx, deliver) })
	parts.Go(func() { r.opt.Health.Run(ctx, r.probe) })
	if r.cluster != nil {
		r.cluster.run(ctx)
	} else {
		r.shards[0].keepLink(ctx)
	}
	r.counts.release()
	parts.Wait()
}
