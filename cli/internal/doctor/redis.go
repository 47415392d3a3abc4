package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// pings is how many round trips the latency is taken from.
	pings = 20
	// slowRedis is what a round trip within one data centre takes at most.
	slowRedis = 5 * time.Millisecond
)

// redis looks at each server that takes writes.
func (d *Doctor) redis(ctx context.Context) {
	if d.NoRedis {
		return
	}
	if d.Redis == nil {
		d.tell("Redis", Skipped, "no URL is given", "set FLEETWIRE_REDIS_URL where Redis can be reached, to see its version, memory policy, persistence and latency")
		return
	}
	cluster, isCluster := d.Redis.(*redis.ClusterClient)
	if !isCluster {
		d.server(ctx, "Redis", d.Redis)
		return
	}
	var mu sync.Mutex
	masters := map[string]*redis.Client{}
	err := cluster.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters[master.Options().Addr] = master
		return nil
	})
	if err != nil {
		d.tell("Redis", Fault, err.Error(), "check that all nodes of the cluster can be reached from here")
		return
	}
	d.tell("Redis", OK, fmt.Sprintf("a cluster; masters: %d", len(masters)), "")
	for i, address := range slices.Sorted(maps.Keys(masters)) {
		d.server(ctx, fmt.Sprintf("Redis, master %d (%s)", i+1, address), masters[address])
	}
}

func (d *Doctor) server(ctx context.Context, name string, rdb redis.Cmdable) {
	ctx, cancel := context.WithTimeout(ctx, 4*requestTime)
	defer cancel()
	text, err := rdb.Info(ctx, "server", "memory", "persistence", "clients", "replication").Result()
	if err != nil {
		d.tell(name, Fault, err.Error(), "the user of the URL needs INFO to be examined; see the ACL in docs/operations.md")
		return
	}
	info := fields(text)
	d.tell(name, OK, fmt.Sprintf("version %s, %s connections, connected replicas: %s", info["redis_version"], info["connected_clients"], info["connected_slaves"]), "")
	d.policy(name, info)
	d.persistence(name, info)
	d.latency(ctx, name, rdb)
}

// fields reads what INFO says.
func fields(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[key] = value
		}
	}
	return info
}

// policy looks at what Redis does when its memory is full: evicting takes quotas and queues away.
func (d *Doctor) policy(name string, info map[string]string) {
	check := name + ": memory"
	most, _ := strconv.ParseInt(info["maxmemory"], 10, 64)
	used, _ := strconv.ParseInt(info["used_memory"], 10, 64)
	found := fmt.Sprintf("policy %s, used %s of %s", info["maxmemory_policy"], info["used_memory_human"], info["maxmemory_human"])
	switch {
	case info["maxmemory_policy"] != "noeviction":
		d.tell(check, Fault, found, "set maxmemory-policy to noeviction: else Redis deletes quotas, queued commands and messages of groups when its memory is full")
	case most == 0:
		d.tell(check, Warning, strings.TrimSuffix(found, " of 0B")+", without a bound", "set maxmemory below the machine's memory: else the system ends Redis when that is full")
	case used > most/10*8:
		d.tell(check, Warning, found, "give Redis more memory, or less to remember (history, groups)")
	default:
		d.tell(check, OK, found, "")
	}
}

// persistence looks at what a crash of Redis costs.
func (d *Doctor) persistence(name string, info map[string]string) {
	check := name + ": persistence"
	if info["aof_enabled"] == "1" {
		if status := info["aof_last_write_status"]; status != "ok" {
			d.tell(check, Fault, "the last write to the append-only file failed", "look at Redis's log and at the disk")
			return
		}
		d.tell(check, OK, "append-only file", "")
		return
	}
	d.tell(check, Warning, "no append-only file", "set appendonly yes, if messages of groups, queued commands and history are to outlive a crash of Redis")
}

func (d *Doctor) latency(ctx context.Context, name string, rdb redis.Cmdable) {
	check := name + ": latency"
	trips := make([]time.Duration, 0, pings)
	for range pings {
		began := time.Now()
		if err := rdb.Ping(ctx).Err(); err != nil {
			d.tell(check, Fault, err.Error(), "")
			return
		}
		trips = append(trips, time.Since(began))
	}
	slices.Sort(trips)
	middle := trips[len(trips)/2]
	found := fmt.Sprintf("a round trip takes %v (median of %d), %v at most", middle.Round(10*time.Microsecond), pings, trips[len(trips)-1].Round(10*time.Microsecond))
	if middle > slowRedis {
		d.tell(check, Warning, found, "run this, and the nodes, near Redis: each publish waits for a round trip")
		return
	}
	d.tell(check, OK, found, "")
}
