package stage

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/chaos/internal/plan"
	"fleetwire/pkg/redisconn/redistest"
)

// backends start Redis in each form.
var backends = map[plan.Form]func(t testing.TB, o Options) backend{
	plan.Server:   startAppending,
	plan.Replica:  startReplicated,
	plan.Cluster:  startCluster,
	plan.Sentinel: startSentinel,
	plan.Clock:    startClocked,
}

// nowhere is an address at which nothing listens.
const nowhere = "127.0.0.1:1"

// direct is one server, or a primary and its replica. Each node reaches the primary through
// a link of its own, which is led to another server as a virtual IP is.
type direct struct {
	t                testing.TB
	primary, replica *redistest.Server // replica may be nil
	links            []*redistest.Proxy
	fsync            string // appendfsync; "": the server appends nothing
}

// startAppending starts one server, which has its data in an append-only file.
func startAppending(t testing.TB, o Options) backend {
	d := &direct{t: t, primary: redistest.StartAppending(t), fsync: o.Fsync}
	d.appends()
	return d.link(o.Nodes)
}

func startReplicated(t testing.TB, o Options) backend {
	d := &direct{t: t, primary: redistest.Start(t), replica: redistest.Start(t)}
	for _, s := range []*redistest.Server{d.primary, d.replica} {
		d.must(s.Client().ConfigSet(context.Background(), "repl-diskless-sync-delay", "0").Err())
	}
	d.follow(d.replica, d.primary)
	return d.link(o.Nodes)
}

func (d *direct) link(nodes int) *direct {
	for range nodes {
		d.links = append(d.links, redistest.NewProxy(d.t, d.primary.Addr()))
	}
	return d
}

// appends has the primary append as it should. A server that has started begins with always.
func (d *direct) appends() {
	if d.fsync != "" {
		d.must(d.primary.Client().ConfigSet(context.Background(), "appendfsync", d.fsync).Err())
	}
}

func (d *direct) client() redis.UniversalClient { return d.primary.Client() }

func (d *direct) url(node int) string { return d.links[node].URL() }

func (d *direct) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// follow makes a server the replica of another, and waits until it has its data.
func (d *direct) follow(replica, of *redistest.Server) {
	host, port, _ := strings.Cut(of.Addr(), ":")
	d.must(replica.Client().ReplicaOf(context.Background(), host, port).Err())
	d.awaitInfo(replica, "master_link_status:up")
}

func (d *direct) awaitInfo(s *redistest.Server, line string) {
	rdb := s.Client()
	redistest.Eventually(d.t, patience, s.Addr()+" says "+line, func() bool {
		return strings.Contains(rdb.Info(context.Background(), "replication").Val(), line)
	})
}

func (d *direct) inject(step plan.Step) lift {
	ctx, link := context.Background(), d.links[step.Node]
	if lift := injectLink(d.t, step, link, func() { link.Lead(nowhere) }, func() { link.Lead(d.primary.Addr()) }); lift != nil {
		return lift
	}
	switch step.Fault.Name {
	case "redis-killed":
		d.primary.Stop()
		return func() func() {
			d.primary.Restart()
			d.appends()
			return d.inSync
		}
	case "redis-restarted":
		d.primary.Stop()
		return then(func() {
			d.primary.Resume()
			d.appends()
		})
	case "redis-stopped":
		d.primary.Freeze()
		return then(d.primary.Thaw)
	case "redis-full":
		return then(d.configure("maxmemory", "1", "0"))
	case "redis-readonly":
		rdb := d.primary.Client()
		d.must(rdb.ReplicaOf(ctx, "127.0.0.1", "1").Err())
		return then(func() { d.must(rdb.ReplicaOf(ctx, "NO", "ONE").Err()) })
	case "redis-emptied":
		d.must(d.primary.Client().FlushAll(ctx).Err())
		return then(func() {})
	case "redis-cut":
		rdb := d.primary.Client()
		for _, kind := range []string{"pubsub", "normal"} {
			d.must(rdb.Do(ctx, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes").Err())
		}
		return then(func() {})
	case "failover-planned", "failover-killed", "failover-stopped":
		return d.failover(step.Fault.Name)
	}
	return nil
}

// then is a lift with nothing to mend.
func then(f func()) lift {
	return func() func() { f(); return func() {} }
}

// inSync waits until the replica, if there is one, has all that the primary has.
func (d *direct) inSync() {
	if d.replica != nil {
		d.awaitInfo(d.replica, "master_link_status:up")
	}
}

func (d *direct) configure(name, to, back string) (lift func()) {
	rdb := d.primary.Client()
	d.must(rdb.ConfigSet(context.Background(), name, to).Err())
	return func() { d.must(rdb.ConfigSet(context.Background(), name, back).Err()) }
}

// failover makes the replica the primary, and leads all links to it. Those that are open
// stay where they are.
func (d *direct) failover(kind string) lift {
	ctx, former, next := context.Background(), d.primary, d.replica
	d.awaitInfo(next, "master_link_status:up")
	promote := func() {
		d.primary, d.replica = next, former
		for _, l := range d.links {
			l.Lead(next.Addr())
		}
	}
	if kind == "failover-planned" {
		host, port, _ := strings.Cut(next.Addr(), ":")
		d.awaitInfo(former, "port="+port+",state=online") // it notices later than the replica
		d.must(former.Client().Do(ctx, "FAILOVER", "TO", host, port, "TIMEOUT", strconv.Itoa(5000)).Err())
		d.awaitInfo(next, "role:master")
		promote()
		return then(func() {})
	}
	end, back := former.Freeze, former.Thaw
	if kind == "failover-killed" {
		end, back = former.Stop, former.Restart
	}
	end()
	return func() func() {
		d.must(next.Client().ReplicaOf(ctx, "NO", "ONE").Err())
		promote()
		return func() {
			back()
			d.must(former.Client().ConfigSet(ctx, "repl-diskless-sync-delay", "0").Err())
			d.follow(former, next)
		}
	}
}
