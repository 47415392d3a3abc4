package receiver_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// topicOf is the topic of a channel of traffic, which the tests find masters by.
func topicOf(i int) string { return receiver.MessagesTopic("app", trafficChannel(i)) }

// onMaster says of each channel of traffic whether the master has its slot.
func onMaster(cluster *redistest.Cluster, master *redistest.Server) func(name string) bool {
	has := map[string]bool{}
	for i := range trafficChannels {
		has[trafficChannel(i)] = cluster.Master(topicOf(i)) == master
	}
	return func(name string) bool { return has[name] }
}

// liveAgain waits for a node that has something to notice.
func liveAgain(t *testing.T, p *process, left *redistest.Budget) {
	t.Helper()
	left.Await(t, "the node is live", func() bool { return p.Live() && p.health.Up() })
}

func TestClusterUnderTraffic(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartClusterOf(t, 3, 1)
	if err := receiver.Check(t.Context(), cluster.Client(), rediskeys.Namespace{}); err != nil {
		t.Fatal(err)
	}
	for _, event := range []struct {
		name string
		// happen does it, and says which channels it concerns. It returns when a master
		// serves all of them again.
		happen func(t *testing.T, cluster *redistest.Cluster) (concerned func(string) bool)
	}{
		{"slots move to another master", func(t *testing.T, cluster *redistest.Cluster) func(string) bool {
			return moveSlots(t, cluster, cluster.Nodes[1])
		}},
		{"a planned failover", func(t *testing.T, cluster *redistest.Cluster) func(string) bool {
			master := cluster.Master(topicOf(0))
			concerned := onMaster(cluster, master)
			cluster.Failover(master)
			return concerned
		}},
		{"a link is cut", func(t *testing.T, cluster *redistest.Cluster) func(string) bool {
			master := cluster.Master(topicOf(1))
			concerned := onMaster(cluster, master)
			if err := master.Client().Do(t.Context(), "client", "kill", "type", "pubsub").Err(); err != nil {
				t.Fatal(err)
			}
			return concerned
		}},
		{"a master is killed", func(t *testing.T, cluster *redistest.Cluster) func(string) bool {
			master := cluster.Master(topicOf(20))
			concerned := onMaster(cluster, master)
			master.Stop()
			redistest.Eventually(t, 3*gone, "another master serves", func() bool {
				return cluster.Master(topicOf(20)) != master
			})
			return concerned
		}},
		{"a master is added and gets slots", func(t *testing.T, cluster *redistest.Cluster) func(string) bool {
			return moveSlots(t, cluster, cluster.Add())
		}},
	} {
		t.Run(event.name, func(t *testing.T) {
			cluster.Settled()
			p := startOn(t, cluster.Client(), "node")
			carry(t, p)
			tr := startTraffic(t, cluster)
			tr.wait(3)
			from := tr.now()
			concerned := event.happen(t, cluster)
			since, left := time.Now(), redistest.NewBudget(back)
			liveAgain(t, p, left)
			tr.comeIn(p, left)
			served := time.Since(since)
			to := tr.now()
			tr.wait(3)
			lost := tr.check(from-min(from, 4), to+4, concerned, p)
			t.Logf("%d messages were published, %d lost; live again after %v", tr.last, lost, served)
			if t.Failed() {
				t.Logf("the node's log: %s", strings.Join(p.log.detailed(), "\n"))
			}
		})
	}
}

// moveSlots moves the slots of the first channels of traffic.
func moveSlots(t *testing.T, cluster *redistest.Cluster, to *redistest.Server) func(string) bool {
	t.Helper()
	moved := map[string]bool{}
	for i := range 8 {
		slot := rediskeys.Slot(topicOf(i))
		for j := range trafficChannels {
			if rediskeys.Slot(topicOf(j)) == slot {
				moved[trafficChannel(j)] = true
			}
		}
		cluster.Migrate(topicOf(i), to)
	}
	return func(name string) bool { return moved[name] }
}

// A master that hangs is left when its replica has taken over, and what it was asked
// meanwhile is answered. When it wakes up it is a replica, and delivers nothing twice but for
// the last before it hung.
func TestMasterHangs(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartClusterOf(t, 3, 1)
	p := startOn(t, cluster.Client(), "node")
	carry(t, p)
	tr := startTraffic(t, cluster)
	tr.wait(1)
	master := cluster.Master(topicOf(0))
	concerned := onMaster(cluster, master)
	from := tr.now()
	master.Freeze()
	tr.hung = tr.now()
	thaw := sync.OnceFunc(master.Thaw)
	defer thaw()
	answer := make(chan error, 1)
	if err := p.SetSubscribers("app", trafficChannel(0), 2, func(err error) { answer <- err }); err != nil {
		t.Fatal(err)
	}
	if err := answered(t, answer); err != nil && !errors.Is(err, receiver.ErrDown) {
		t.Errorf("what was asked of a master that hangs is answered with %v", err)
	}
	replica := cluster.Nodes[3+slices.Index(cluster.Nodes, master)]
	redistest.Eventually(t, 3*gone, "its replica is the master", func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "role:master")
	})
	tr.comeIn(p, redistest.NewBudget(back))
	liveAgain(t, p, redistest.NewBudget(back))
	named := func(line string) bool { return strings.Contains(line, "master "+master.Addr()) }
	if !slices.ContainsFunc(p.log.detailed(), named) {
		t.Errorf("the log does not name the master: %q", p.log.detailed())
	}
	to := tr.now()
	thaw()
	cluster.Settled()
	tr.comeIn(p, redistest.NewBudget(back))
	tr.check(from-min(from, 4), to+4, concerned, p)
}

// nodeThrough is a node whose connections to a server lead through a proxy.
func nodeThrough(t *testing.T, cluster *redistest.Cluster, server *redistest.Server) (*process, *redistest.Proxy) {
	t.Helper()
	proxy := redistest.NewProxy(t, server.Addr())
	var addresses []string
	for _, s := range cluster.Nodes {
		addresses = append(addresses, s.Addr())
	}
	rdb := redisconn.NewCluster(&redis.ClusterOptions{
		Addrs: addresses, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == server.Addr() {
				addr = strings.TrimPrefix(proxy.URL(), "redis://")
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	})
	t.Cleanup(func() { _ = rdb.Close() })
	return startOn(t, rdb, "node"), proxy
}

// without is a hook that swallows what Redis sends of a kind.
func without(kind string) redistest.Hook {
	return func(piece []byte) ([]byte, bool) {
		if bytes.Contains(piece, []byte("\r\n"+kind+"\r\n")) {
			return nil, false
		}
		return piece, false
	}
}

// A master that has become a replica takes subscriptions as before, and delivers nothing.
// A node finds that out though it does not hear that its subscriptions have ended.
func TestDemotedMaster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartClusterOf(t, 3, 1)
	master := cluster.Master(topicOf(0))
	p, proxy := nodeThrough(t, cluster, master)
	carry(t, p)
	proxy.Pass(nil, without("sunsubscribe"))
	tr := startTraffic(t, cluster)
	tr.wait(1)
	concerned := onMaster(cluster, master)
	from := tr.now()
	cluster.Failover(master)
	tr.comeIn(p, redistest.NewBudget(back))
	liveAgain(t, p, redistest.NewBudget(back))
	tr.check(from-min(from, 4), tr.now(), concerned, p)
}

// A link that answers and delivers nothing is found out by its probe, and named.
func TestMasterDeliversNothing(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartClusterOf(t, 3, 1)
	master := cluster.Master(topicOf(0))
	p, proxy := nodeThrough(t, cluster, master)
	carry(t, p)
	proxy.Pass(nil, without("smessage"))
	redistest.Eventually(t, 3*time.Second, "the node knows, and says which", func() bool {
		trouble := p.Trouble()
		return !p.Live() && trouble != nil && strings.Contains(trouble.Error(), "master "+master.Addr()+": redis took a probe")
	})
	never := func(error) { t.Error("done was called although the call was refused") }
	if err := p.SetSubscribers("app", trafficChannel(0), 2, never); !errors.Is(err, receiver.ErrDown) {
		t.Errorf("a subscription at that master: %v, want ErrDown", err)
	}
	pattern, _ := channel.Compile("**")
	if err := p.AddPattern("app", pattern, never); !errors.Is(err, receiver.ErrDown) {
		t.Errorf("a wildcard meanwhile: %v, want ErrDown", err)
	}
	elsewhere := -1
	for i := range trafficChannels {
		if cluster.Master(topicOf(i)) != master {
			elsewhere = i
			break
		}
	}
	answer := make(chan error, 1)
	if err := p.SetSubscribers("app", trafficChannel(elsewhere), 2, func(err error) { answer <- err }); err != nil {
		t.Errorf("a subscription at a master that works: %v", err)
	} else if err := answered(t, answer); err != nil {
		t.Errorf("a subscription at a master that works: %v", err)
	}
	proxy.Pass(nil, nil)
	tr := startTraffic(t, cluster)
	tr.comeIn(p, redistest.NewBudget(back))
	liveAgain(t, p, redistest.NewBudget(back))
	if trouble := p.Trouble(); trouble != nil {
		t.Errorf("trouble afterwards: %v", trouble)
	}
}

// A master that refuses topics refuses those of its own slots alone.
func TestMasterRefusesTopics(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartClusterOf(t, 2, 0)
	for i, s := range cluster.Nodes {
		channels := "&*"
		if i == 0 {
			channels = "&fw:0:probe:*"
		}
		if err := s.Client().Do(t.Context(), "acl", "setuser", "fw", "reset", "on", ">pass", "~*", "+@all", channels).Err(); err != nil {
			t.Fatal(err)
		}
	}
	rdb := redisconn.NewCluster(&redis.ClusterOptions{
		Addrs: []string{cluster.Nodes[0].Addr()}, Username: "fw", Password: "pass", Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	p := startOn(t, rdb, "node", patient)
	answer := make(chan error, 1)
	done := func(err error) { answer <- err }
	refused := func(err error) bool {
		var refused *receiver.RefusedError
		return errors.As(err, &refused) && strings.HasPrefix(refused.Words, "NOPERM ")
	}
	for i := range trafficChannels {
		mayNot := cluster.Master(topicOf(i)) == cluster.Nodes[0]
		if err := p.SetSubscribers("app", trafficChannel(i), 1, done); err != nil {
			t.Fatal(err)
		}
		if err := answered(t, answer); refused(err) != mayNot || !mayNot && err != nil {
			t.Errorf("%s: %v; it is refused: %v", trafficChannel(i), err, mayNot)
		}
	}
	pattern, _ := channel.Compile("**")
	if err := p.AddPattern("app", pattern, done); err != nil {
		t.Fatal(err)
	}
	if err := answered(t, answer); !refused(err) {
		t.Errorf("a wildcard that one master refuses: %v", err)
	}
	p.RemovePattern("app", pattern)
	if !p.Live() || p.log.with(linkDown) > 0 || !strings.Contains(p.Refused(), "NOPERM") {
		t.Errorf("live %v, refused %q, log %q", p.Live(), p.Refused(), p.log.detailed())
	}
}

func wildcard(t *testing.T, p *process, pattern string) *channel.Pattern {
	t.Helper()
	compiled, err := channel.Compile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	if err := p.AddPattern("app", compiled, func(err error) { answer <- err }); err != nil {
		t.Fatal(err)
	}
	if err := answered(t, answer); err != nil {
		t.Fatal(err)
	}
	return compiled
}

// A node with wildcards has a key in each bucket and hears its topic of all channels; when
// the last is gone it does not.
func TestWildcardsOnACluster(t *testing.T) {
	cluster := redistest.SharedCluster(t)
	rdb := cluster.Client()
	p := startOn(t, cluster.Client(), "node")
	var keys rediskeys.Namespace
	standing := func(kind envelope.Kind) (n int) {
		for b := range keys.Buckets("app") {
			n += int(rdb.Exists(context.Background(), b.Wildcards(kind)).Val())
		}
		return n
	}
	heard := func() (n int) {
		for _, s := range cluster.Nodes {
			n += len(s.Client().PubSubShardChannels(context.Background(), "fw:0:msg:{app.*}:").Val())
		}
		return n
	}
	one := wildcard(t, p, "devices/*/events")
	if standing(envelope.KindMessages) != rediskeys.BucketsPerApp || standing(envelope.KindPresence) != 0 || heard() != rediskeys.BucketsPerApp {
		t.Fatalf("when the first is confirmed, %d keys and %d topics, want all", standing(envelope.KindMessages), heard())
	}
	ttl := rdb.PTTL(context.Background(), keys.Bucket("app", "c").Wildcards(envelope.KindMessages)).Val()
	if ttl <= 0 || ttl > 30*time.Second {
		t.Errorf("a key stands for %v, want up to 30s", ttl)
	}
	other := wildcard(t, p, "**")
	if err := publishSharded(t.Context(), rdb, "devices/1/events", 1); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, gone, "the message comes in", func() bool { return p.received("devices/1/events") == 1 })
	p.RemovePattern("app", one)
	p.RemovePattern("app", one) // once too often, while another is wanted
	if err := publishSharded(t.Context(), rdb, "devices/1/others", 1); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, gone, "the message comes in", func() bool { return p.received("devices/1/others") == 1 })
	p.RemovePattern("app", other)
	redistest.Eventually(t, gone, "nothing is subscribed any more", func() bool { return heard() == 0 })
	if err := publishSharded(t.Context(), rdb, "devices/1/events", 2); err != nil {
		t.Fatal(err)
	}
	wildcard(t, p, "**")
	if err := publishSharded(t.Context(), rdb, "devices/1/events", 3); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, gone, "it comes in again", func() bool { return p.received("devices/1/events") == 2 })
}
