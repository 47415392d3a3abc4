package stage

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/chaos/internal/plan"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

const (
	masters  = 3
	replicas = 1
)

// clustered is a Redis Cluster, which nodes reach as it tells them to.
type clustered struct {
	t       testing.TB
	cluster *redistest.Cluster
}

func startCluster(t testing.TB, _ Options) backend {
	return &clustered{t: t, cluster: redistest.StartLinkedCluster(t, masters, replicas)}
}

func (c *clustered) client() redis.UniversalClient { return c.cluster.Client() }

func (c *clustered) url(node int) string { return withName(c.cluster.URL(), node) }

func (c *clustered) inject(step plan.Step) lift {
	key := movable(step.Pick)
	switch step.Fault.Name {
	case "failover-planned":
		c.cluster.Failover(c.cluster.Master(key))
		return then(func() {})
	case "failover-killed", "failover-stopped":
		return c.replace(c.cluster.Master(key), step.Fault.Name == "failover-killed")
	case "resharding":
		c.move(c.cluster.Master(movable(step.Pick + 1)))
		return then(func() {})
	case "master-added":
		added := c.cluster.Add()
		c.cluster.AddReplica(added) // for a failover that comes after
		c.move(added)
		return then(func() {})
	}
	return injectNamed(c.t, step, c.cluster.Links)
}

// replace ends a master, or has it stand still, and waits until its replica has taken over.
func (c *clustered) replace(master *redistest.Server, kill bool) lift {
	replica := c.cluster.Replica(master)
	end, back := master.Freeze, master.Thaw
	if kill {
		end, back = master.Stop, master.Resume
	}
	end()
	return func() func() {
		(&direct{t: c.t}).awaitInfo(replica, "role:master")
		return func() {
			back()
			c.cluster.Settled()
		}
	}
}

// moved is how many slots a resharding moves.
const moved = 24

// move moves slots that are in use to a master, one after the other.
func (c *clustered) move(to *redistest.Server) {
	for i := range uint32(moved) {
		c.cluster.Migrate(movable(i), to)
	}
}

// movable is a key of the fleet's: what its app has once, or of one of its channels.
func movable(i uint32) string {
	keys, err := rediskeys.New("fw", 0)
	if err != nil {
		panic(err) // the name is the default
	}
	const app = "fleet"
	group := i / 3 % 8
	switch i % 3 {
	case 0:
		return keys.Connections(app)
	case 1:
		name := fmt.Sprintf("fleets/%d/events", group)
		return keys.Bucket(app, name).Members(name)
	default:
		name := fmt.Sprintf("log/%d", group)
		return keys.Bucket(app, name).Members(name)
	}
}
