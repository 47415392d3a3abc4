package receiver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/batch"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// topologyAge is how often the nodes of a cluster are asked for the topology while
	// nothing gives a reason to, and topologyUrgent while something is not subscribed.
	// topologyGap is the least time in between.
	topologyAge    = 30 * time.Second
	topologyUrgent = 100 * time.Millisecond
	topologyGap    = 50 * time.Millisecond
)

// cluster has a shard for each master of a Redis Cluster, and topics follow their slots
// from master to master. go-redis's own subscriptions follow none: after a failover they
// stay at a replica that delivers nothing.
type cluster struct {
	r      *Receiver
	client *redis.ClusterClient
	wake   batch.Signal // the topology may have changed
	shards sync.WaitGroup
	asking sync.WaitGroup

	nodes map[string]*clusterNode // by address; of the goroutine of run

	// Under Receiver.mu.
	wildcards wildcards
	routes    [rediskeys.Slots]*shard
	nowhere   *shard // has the slots that no master is known to have; it never comes up
}

func newCluster(r *Receiver, client *redis.ClusterClient) *cluster {
	c := &cluster{r: r, client: client, wake: batch.NewSignal(), nodes: map[string]*clusterNode{}, wildcards: wildcards{r: r, apps: map[globApp]*wildcardApp{}}}
	c.nowhere = newShard(r, nil)
	c.nowhere.trouble = errNoTopology
	for slot := range c.routes {
		c.routes[slot] = c.nowhere
	}
	return c
}

// run keeps the shards true until ctx ends.
func (c *cluster) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		c.shards.Wait()
		c.asking.Wait()
		for _, node := range c.nodes {
			_ = node.client.Close()
		}
	}()
	for ctx.Err() == nil {
		c.look(ctx)
		sleep(ctx, topologyGap)
		select {
		case <-ctx.Done():
		case <-time.After(c.nextLook()):
		case <-c.wake:
		}
	}
}

func (c *cluster) nextLook() time.Duration {
	if c.r.Live() {
		return topologyAge
	}
	return topologyUrgent
}

// look asks for the topology, and has the shards follow it.
func (c *cluster) look(ctx context.Context) {
	if len(c.nodes) == 0 {
		know(c.nodes, c.client, c.client.Options().Addrs)
	}
	t, err := ask(ctx, c.nodes, &c.asking)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		know(c.nodes, c.client, c.client.Options().Addrs) // all that were known may be gone
		c.blame(err)
		return
	}
	know(c.nodes, c.client, slices.Collect(maps.Keys(t.nodes)))
	c.follow(ctx, t)
	for addr, node := range c.nodes {
		if !t.nodes[addr] {
			_ = node.client.Close()
			delete(c.nodes, addr)
		}
	}
}

// blame notes why the topology is not known; if it once was, the shards tell better.
func (c *cluster) blame(err error) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.nowhere.trouble = err
}

// follow gives each master that has slots a shard, and moves what is wanted to the masters
// that have it now.
func (c *cluster) follow(ctx context.Context, t *topology) {
	first := t.slotOfEach()
	probes := c.probesFor(t, first)

	r := c.r
	r.mu.Lock()
	c.nowhere.trouble = nil
	if !t.covered() {
		c.nowhere.trouble = errUncovered
	}
	masters := map[string]*shard{}
	for _, sh := range r.shards {
		masters[sh.addr] = sh
	}
	var begun []*shard
	for addr := range first {
		if masters[addr] == nil {
			sh := newShard(r, newProber(c.nodes[addr].client, probes[addr]))
			sh.addr, sh.health = addr, r.opt.Health.Master(addr)
			masters[addr] = sh
			begun = append(begun, sh)
		}
	}
	masters[""] = c.nowhere
	moved := 0
	for slot, addr := range t.masters {
		if c.routes[slot] != masters[addr] {
			c.routes[slot] = masters[addr]
			moved++
		}
	}
	c.tellHealth(first, masters)
	var completed []completion
	former := r.shards
	r.shards = nil
	if moved > 0 {
		completed = c.move(former)
	}
	for addr, sh := range masters {
		if at := probes[addr]; at != nil {
			sh.probeAt(at)
		}
		switch _, has := first[addr]; {
		case has:
			r.shards = append(r.shards, sh)
		case sh == c.nowhere:
			if !t.covered() {
				r.shards = append(r.shards, sh)
			}
		default:
			sh.stop()
		}
		sh.retryAstray()
	}
	for _, sh := range begun {
		var sctx context.Context
		sctx, sh.stop = context.WithCancel(ctx)
		c.shards.Go(func() { sh.health.Run(sctx, sh.probe) })
		c.shards.Go(func() { sh.keepLink(sctx) })
	}
	r.mu.Unlock()
	completeAll(completed)
	if moved > 0 {
		r.opt.Log.Info("slots of the redis cluster have other masters now", "slots", moved, "masters", len(first))
	}
}

// probesFor is where masters are probed from now on that have no slot for it yet, or no
// longer.
func (c *cluster) probesFor(t *topology, first map[string]int) map[string]*probePlace {
	r := c.r
	r.mu.Lock()
	probed := map[string]int{}
	for _, sh := range r.shards {
		if sh.prober != nil { // nowhere has none
			probed[sh.addr] = sh.prober.at.Load().slot
		}
	}
	r.mu.Unlock()
	probes := map[string]*probePlace{}
	for addr, slot := range first {
		if at, ok := probed[addr]; !ok || t.masters[at] != addr {
			probes[addr] = placeOnMaster(r.opt.Keys, r.opt.Node, slot)
		}
	}
	return probes
}

// move takes each subscription to the shard that has its slot now. It returns the calls
// that waited, where that is not up. It is called with Receiver.mu held.
func (c *cluster) move(shards []*shard) (completed []completion) {
	rehashed := map[rediskeys.Bucket]bool{}
	for _, from := range shards {
		var leaving []*subscription
		for _, s := range from.wanted {
			if to := c.routes[rediskeys.Slot(s.topic)]; to != from {
				leaving = append(leaving, s)
			}
		}
		for _, s := range leaving {
			from.release(s)
			if s.key.counted() {
				rehashed[c.r.bucketOf(s.key)] = true
			}
			to := c.routes[rediskeys.Slot(s.topic)]
			completed = to.adopt(completed, s)
		}
		if len(leaving) > 0 {
			completed = from.left(completed)
		}
	}
	c.r.counts.forget(func(b rediskeys.Bucket) bool { return rehashed[b] })
	return completed
}

// elsewhere says whether an error means that another master has the slot, or none has.
func elsewhere(err error) bool {
	for _, prefix := range []string{"MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN "} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}

// tellHealth tells which masters there are now. It is called with Receiver.mu held.
func (c *cluster) tellHealth(first map[string]int, masters map[string]*shard) {
	all := map[string]*redisconn.Health{}
	for addr := range first {
		all[addr] = masters[addr].health
	}
	c.r.opt.Health.SetMasters(all, func(slot int) *redisconn.Health { return all[c.routes[slot].addr] })
}

var errUncovered = errors.New("no master of the redis cluster has some of the slots")

// uncovered says why slots have no masters, as far as is known.
func (c *cluster) uncovered() error {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.nowhere.trouble
}
