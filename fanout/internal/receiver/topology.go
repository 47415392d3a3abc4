package receiver

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// topologyPatience is how long the nodes of a cluster may take to say which master
	// has which slots; topologyGrace, how long the others may take once one has.
	topologyPatience = 500 * time.Millisecond
	topologyGrace    = 100 * time.Millisecond
)

var errNoTopology = errors.New("no node of the redis cluster says which master has which slots")

// topology is which master has which slots, by address; "" if none has.
type topology struct {
	masters [rediskeys.Slots]string
	nodes   map[string]bool // addresses of all masters and replicas
}

// clusterNode is a node of the cluster.
type clusterNode struct {
	client *redis.Client
	asked  atomic.Bool // it has yet to answer
}

// know adds nodes.
func know(nodes map[string]*clusterNode, cluster *redis.ClusterClient, addrs []string) {
	for _, addr := range addrs {
		if nodes[addr] == nil {
			nodes[addr] = &clusterNode{client: redisconn.Node(cluster, addr)}
		}
	}
}

// view is what one node says of the topology. epochs has the masters' configuration
// epochs, by id: of two masters that claim a slot, the one with the higher epoch has it.
type view struct {
	from   string
	slots  []redis.ClusterSlot
	epochs map[string]int64
	err    error
}

// ask asks all nodes at the same time, as some may be away, and others may have yet to
// learn of a failover.
func ask(ctx context.Context, nodes map[string]*clusterNode, asking *sync.WaitGroup) (*topology, error) {
	ctx, cancel := context.WithTimeout(redisconn.Alone(ctx), topologyPatience)
	defer cancel()
	views := make(chan view, len(nodes))
	waiting := 0
	for addr, node := range nodes {
		if node.asked.Swap(true) {
			continue
		}
		waiting++
		asking.Go(func() {
			defer node.asked.Store(false)
			v := viewOf(ctx, node.client)
			v.from = addr
			views <- v
		})
	}
	t := &topology{nodes: map[string]bool{}}
	var best [rediskeys.Slots]int64
	answered, err := false, errNoTopology
	var grace <-chan time.Time
	for ; waiting > 0; waiting-- {
		select {
		case v := <-views:
			if v.err != nil {
				err = v.err
				continue
			}
			if !answered {
				answered, grace = true, time.After(topologyGrace)
			}
			t.merge(v, &best)
			continue
		case <-grace:
		case <-ctx.Done():
		}
		break
	}
	if !answered {
		return nil, err
	}
	return t, nil
}

func viewOf(ctx context.Context, client *redis.Client) view {
	p := client.Pipeline()
	slots, nodes := p.ClusterSlots(ctx), p.ClusterNodes(ctx)
	if _, err := p.Exec(ctx); slots.Err() != nil {
		return view{err: err} // CLUSTER NODES may be refused, and then all have the same epoch
	}
	if len(slots.Val()) == 0 {
		return view{err: errNoTopology}
	}
	return view{slots: slots.Val(), epochs: epochsOf(nodes.Val())}
}

// epochsOf reads CLUSTER NODES, whose lines are ID ADDRESS FLAGS MASTER PING PONG EPOCH ….
func epochsOf(nodes string) map[string]int64 {
	epochs := map[string]int64{}
	for line := range strings.Lines(nodes) {
		if fields := strings.Fields(line); len(fields) > 6 {
			if epoch, err := strconv.ParseInt(fields[6], 10, 64); err == nil {
				epochs[fields[0]] = epoch
			}
		}
	}
	return epochs
}

// merge adds a view. best has for each slot one more than the epoch of the master that it is
// known to be at.
func (t *topology) merge(v view, best *[rediskeys.Slots]int64) {
	for _, r := range v.slots {
		for i, node := range r.Nodes {
			addr := reachable(node.Addr, v.from)
			t.nodes[addr] = true
			if i > 0 {
				continue
			}
			epoch := v.epochs[node.ID] + 1
			for slot := max(r.Start, 0); slot <= min(r.End, rediskeys.Slots-1); slot++ {
				if epoch > best[slot] {
					best[slot], t.masters[slot] = epoch, addr
				}
			}
		}
	}
}

// slotOfEach has a slot of each master.
func (t *topology) slotOfEach() map[string]int {
	first := map[string]int{}
	for slot, addr := range t.masters {
		if _, known := first[addr]; !known && addr != "" {
			first[addr] = slot
		}
	}
	return first
}

// covered says whether all slots have masters.
func (t *topology) covered() bool { return !slices.Contains(t.masters[:], "") }

// reachable is the address of a node that another node told. A node may not know its own
// host, only one that is good for itself, or only its port without TLS; go-redis
// reads all of that alike.
func reachable(addr, from string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	fromHost, fromPort, _ := net.SplitHostPort(from)
	if host == "" || host == "?" || isLoopback(host) && !isLoopback(fromHost) {
		host = fromHost
	}
	if port == "0" {
		port = fromPort
	}
	return net.JoinHostPort(host, port)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
