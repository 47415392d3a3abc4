package redistest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

const (
	// clusterPatience is far more than a cluster takes to agree; only a test that fails
	// waits for it.
	clusterPatience = 30 * time.Second
	// trustMs, Redis's default, has no node take another for failed because the machine is busy.
	// From when one is stopped or hangs, quickMs has all see that soon.
	trustMs, quickMs = "15000", "500"
)

// Cluster is a Redis Cluster of the test's own.
type Cluster struct {
	t     testing.TB
	Nodes []*Server // the masters, as they were at the beginning, then their replicas
	Links *Links    // to Nodes, or nil
	guard Guard
	quick bool // to take a node for failed
}

// StartClusterOf starts a Redis Cluster of masters, which share the slots evenly, with
// replicas each. A master that is gone is replaced within about a second.
func StartClusterOf(t testing.TB, masters, replicas int) *Cluster {
	t.Helper()
	return StartGuardedCluster(t, masters, replicas, Guard{})
}

// StartGuardedCluster is StartClusterOf with TLS and users.
func StartGuardedCluster(t testing.TB, masters, replicas int, guard Guard) *Cluster {
	t.Helper()
	return startCluster(&Cluster{t: t, guard: guard}, masters, replicas)
}

// StartLinkedCluster is StartClusterOf with Links.
func StartLinkedCluster(t testing.TB, masters, replicas int) *Cluster {
	t.Helper()
	return startCluster(&Cluster{t: t, Links: newLinks()}, masters, replicas)
}

func startCluster(c *Cluster, masters, replicas int) *Cluster {
	c.t.Helper()
	for range masters * (1 + replicas) {
		c.Nodes = append(c.Nodes, c.start())
	}
	ctx := context.Background()
	for i := range masters {
		rdb := c.Nodes[i].Client()
		from, to := i*rediskeys.Slots/masters, (i+1)*rediskeys.Slots/masters-1
		c.must(rdb.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		c.must(rdb.ClusterAddSlotsRange(ctx, from, to).Err())
	}
	for i, s := range c.Nodes {
		c.meet(s, c.Nodes[:i])
	}
	for i, s := range c.Nodes[masters:] {
		c.replicate(s, c.Nodes[i%masters])
	}
	c.Settled()
	return c
}

// IsClusterNode says whether the server is a node of a Redis Cluster.
func (s *Server) IsClusterNode() bool { return s.cluster }

// start starts a node that is in no cluster yet.
func (c *Cluster) start() *Server {
	c.t.Helper()
	return started(c.t, c.guard.redis(&Server{cluster: true, nodes: c, links: c.Links}))
}

// Add starts a master without slots, and has the others meet it. Migrate gives it slots.
func (c *Cluster) Add() *Server {
	c.t.Helper()
	s := c.start()
	c.meet(s, c.Nodes)
	c.Nodes = append(c.Nodes, s)
	c.Settled()
	return s
}

// meet has a node meet others.
func (c *Cluster) meet(s *Server, others []*Server) {
	c.t.Helper()
	rdb := s.Client()
	for _, other := range running(others) {
		c.must(rdb.Do(context.Background(), "CLUSTER", "MEET", "127.0.0.1", other.port, other.bus).Err())
	}
}

func (c *Cluster) nodeTimeout() string {
	if c.quick {
		return quickMs
	}
	return trustMs
}

// hasten has all nodes be quick to see that one is gone. c may be nil.
func (c *Cluster) hasten() {
	if c == nil || c.quick {
		return
	}
	c.quick = true
	for _, s := range running(c.Nodes) {
		rdb := redis.NewClient(s.options())
		if err := rdb.ConfigSet(context.Background(), "cluster-node-timeout", quickMs).Err(); err != nil {
			c.t.Error(err)
		}
		_ = rdb.Close()
	}
}

// replicate makes a node a replica of a master, once it knows the master.
func (c *Cluster) replicate(replica, master *Server) {
	c.t.Helper()
	id := master.clusterID()
	rdb := replica.Client()
	Eventually(c.t, clusterPatience, "a node is a replica", func() bool {
		return rdb.ClusterReplicate(context.Background(), id).Err() == nil
	})
}

func (s *Server) clusterID() string {
	s.t.Helper()
	id, err := s.Client().Do(context.Background(), "CLUSTER", "MYID").Text()
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// Settled waits until all nodes that run know each other, all slots are served, and all
// replicas follow their masters.
func (c *Cluster) Settled() {
	c.t.Helper()
	for _, s := range c.Nodes {
		if s.process == nil {
			continue
		}
		rdb := s.Client()
		Eventually(c.t, clusterPatience, "the cluster is up, as "+s.Addr()+" sees it", func() bool {
			ctx := context.Background()
			if !strings.Contains(rdb.ClusterInfo(ctx).Val(), "cluster_state:ok") {
				return false
			}
			running := 0
			for line := range strings.Lines(rdb.ClusterNodes(ctx).Val()) {
				fields := strings.Fields(line)
				if strings.Contains(fields[2], "handshake") {
					return false
				}
				if !strings.Contains(fields[2], "fail") {
					running++
				}
			}
			replication := rdb.Info(ctx, "replication").Val()
			follows := strings.Contains(replication, "role:master") || strings.Contains(replication, "master_link_status:up")
			return running == c.running() && follows
		})
	}
}

// Agreed waits until all nodes that run name the same master of each slot. After a Migrate
// only the two masters do, until the others have heard of it.
func (c *Cluster) Agreed() {
	c.t.Helper()
	Eventually(c.t, clusterPatience, "all nodes agree on the slots", func() bool {
		said := map[string]bool{}
		for _, s := range running(c.Nodes) {
			said[s.slots()] = true
		}
		return len(said) == 1 && !said[""]
	})
}

// slots is which master has which slots, by the node's account; "": it does not say.
func (s *Server) slots() string {
	shards, _ := s.Client().ClusterShards(context.Background()).Result()
	var all []string
	for _, shard := range shards {
		for _, node := range shard.Nodes {
			if node.Role == "master" && len(shard.Slots) > 0 {
				all = append(all, fmt.Sprint(node.ID, shard.Slots))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

func (c *Cluster) running() (n int) {
	for _, s := range c.Nodes {
		if s.process != nil {
			n++
		}
	}
	return n
}

// URL is what -redis takes: the addresses of all nodes.
func (c *Cluster) URL() string {
	addresses := make([]string, len(c.Nodes))
	for i, s := range c.Nodes {
		addresses[i] = s.Addr()
	}
	return c.Nodes[0].scheme("redis") + strings.Join(addresses, ",")
}

// Master is the node that has the key's slot.
func (c *Cluster) Master(key string) *Server {
	c.t.Helper()
	slot := rediskeys.Slot(key)
	var found *Server
	Eventually(c.t, clusterPatience, fmt.Sprintf("a node has the slot of %q", key), func() bool {
		for _, s := range c.Nodes {
			if s.process != nil && s.has(slot) {
				found = s
			}
		}
		return found != nil
	})
	return found
}

// has says whether the node is the master of a slot, by its own account.
func (s *Server) has(slot int) bool {
	rdb := redis.NewClient(s.options())
	defer func() { _ = rdb.Close() }()
	shards, _ := rdb.ClusterShards(context.Background()).Result()
	return slices.ContainsFunc(shards, func(shard redis.ClusterShard) bool {
		return slices.ContainsFunc(shard.Slots, func(r redis.SlotRange) bool {
			return slot >= int(r.Start) && slot <= int(r.End)
		}) && slices.ContainsFunc(shard.Nodes, func(n redis.Node) bool {
			return n.Role == "master" && int(n.Port) == s.port
		})
	})
}

func (c *Cluster) at(addr string) *Server {
	c.t.Helper()
	i := slices.IndexFunc(c.Nodes, func(s *Server) bool { return s.Addr() == addr })
	if i < 0 {
		c.t.Fatalf("%s is no node of the cluster", addr)
	}
	return c.Nodes[i]
}

// Replica is a replica of the master. It waits until there is one: one that was away may
// not be back yet.
func (c *Cluster) Replica(master *Server) (replica *Server) {
	c.t.Helper()
	id, rdb := master.clusterID(), master.Client()
	Eventually(c.t, clusterPatience, master.Addr()+" has a replica", func() bool {
		for line := range strings.Lines(rdb.ClusterNodes(context.Background()).Val()) {
			fields := strings.Fields(line)
			if fields[3] == id && !strings.Contains(fields[2], "fail") {
				addr, _, _ := strings.Cut(fields[1], "@")
				replica = c.at(addr)
				return true
			}
		}
		return false
	})
	return replica
}

// AddReplica starts a replica of the master.
func (c *Cluster) AddReplica(master *Server) *Server {
	c.t.Helper()
	replica := c.Add()
	c.replicate(replica, master)
	c.Settled()
	return replica
}

// Failover makes a replica of the master the master, as planned maintenance does, and
// waits until it is. It returns the new master.
func (c *Cluster) Failover(master *Server) *Server {
	c.t.Helper()
	replica := c.Replica(master)
	rdb := replica.Client()
	// A master that has not heard yet that it is a replica does not vote for it, and it would
	// not ask again before a test's patience ends.
	id, of := replica.clusterID(), master.clusterID()
	Eventually(c.t, clusterPatience, "all know the replica", func() bool {
		return !slices.ContainsFunc(running(c.Nodes), func(s *Server) bool {
			return !slices.ContainsFunc(strings.Split(s.Client().ClusterNodes(context.Background()).Val(), "\n"), func(line string) bool {
				fields := strings.Fields(line)
				return len(fields) > 3 && fields[0] == id && fields[3] == of
			})
		})
	})
	Eventually(c.t, clusterPatience, "the replica begins to take over", func() bool { // not while its link is made
		return rdb.ClusterFailover(context.Background()).Err() == nil
	})
	Eventually(c.t, clusterPatience, "the replica is the master", func() bool {
		return strings.Contains(rdb.Info(context.Background(), "replication").Val(), "role:master")
	})
	return replica
}

// Migrate moves the slot of a key, with all keys in it, to another master while
// everything goes on.
func (c *Cluster) Migrate(key string, to *Server) {
	c.t.Helper()
	ctx := context.Background()
	slot := rediskeys.Slot(key)
	from := c.Master(key)
	if from == to {
		return
	}
	source, target := from.Client(), to.Client()
	// By its SETSLOT the target takes the highest epoch that it knows of, and one. If the source
	// had a higher one, its last word about the slot would have the target give it up again, and
	// then no node had it. This waits before the slot moves, since scripts wait until it has.
	Eventually(c.t, clusterPatience, "the target knows the epoch of the source", func() bool {
		return clusterInfo(target, "cluster_current_epoch") >= clusterInfo(source, "cluster_my_epoch")
	})
	c.must(target.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", from.clusterID()).Err())
	c.must(source.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", to.clusterID()).Err())
	for {
		keys, err := source.ClusterGetKeysInSlot(ctx, slot, 100).Result()
		c.must(err)
		if len(keys) == 0 {
			break
		}
		args := []any{"MIGRATE", "127.0.0.1", strconv.Itoa(to.port), "", 0, 5000, "KEYS"}
		for _, k := range keys {
			args = append(args, k)
		}
		c.must(source.Do(ctx, args...).Err())
	}
	id := to.clusterID()
	c.must(target.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", id).Err())
	c.must(source.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", id).Err())
	Eventually(c.t, clusterPatience, "the slot is at the other master", func() bool { return c.Master(key) == to })
}

// clusterInfo is a number that a node tells of the cluster.
func clusterInfo(node *redis.Client, field string) int {
	_, rest, _ := strings.Cut(node.ClusterInfo(context.Background()).Val(), field+":")
	text, _, _ := strings.Cut(rest, "\r")
	n, _ := strconv.Atoi(text)
	return n
}

// Flush empties all masters.
func (c *Cluster) Flush() {
	c.t.Helper()
	for _, s := range c.Nodes {
		if s.process == nil {
			continue
		}
		rdb := s.Client()
		if strings.Contains(rdb.Info(context.Background(), "replication").Val(), "role:master") {
			c.must(rdb.FlushAll(context.Background()).Err())
		}
	}
}

// Client is a client of the whole cluster, closed with the test. It fails the test if a
// script gets keys in several slots.
func (c *Cluster) Client() *redis.ClusterClient {
	c.t.Helper()
	return Open(c.t, c.URL(), c.Nodes[0].TLS()).(*redis.ClusterClient)
}

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}
