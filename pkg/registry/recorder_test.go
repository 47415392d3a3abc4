package registry

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn/redistest"
)

// A peer connects, disconnects, is back within its grace, and goes offline.
func TestAPeerConnectsAndDisconnects(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		if _, ok := see(t, rdb, n.app, "p"); ok {
			t.Error("a peer that was never there is known")
		}
		first := n.connect("p", `{"a":1}`)
		n.settled()
		p, ok := see(t, rdb, n.app, "p")
		if !ok || !p.Online || p.Epoch != 1 || string(p.Metadata) != `{"a":1}` || p.ConnectedAt == 0 || p.LastDisconnect != nil {
			t.Errorf("connected: %v %+v", ok, p)
		}
		connectedAt := p.ConnectedAt
		first(1006, Lost)
		n.settled()
		if p, _ := see(t, rdb, n.app, "p"); !p.Online || p.LastDisconnect == nil || p.LastDisconnect.Code != 1006 || p.LastDisconnect.Reason != Lost {
			t.Errorf("in its grace: %+v", p)
		}
		second := n.connect("p", "")
		n.settled()
		n.pass("p")
		if p, _ := see(t, rdb, n.app, "p"); !p.Online || p.Epoch != 2 || p.ConnectedAt != connectedAt || p.Metadata != nil {
			t.Errorf("back in its grace: %+v", p)
		}
		second(4000, Inactive)
		n.settled()
		n.pass("p")
		p, _ = see(t, rdb, n.app, "p")
		if p.Online || p.Epoch != 2 || p.LastDisconnect.Code != 4000 || p.LastSeenAt != p.LastDisconnect.At || p.LastSeenAt < connectedAt {
			t.Errorf("offline: %+v", p)
		}
		n.connect("p", "")
		n.settled()
		if p, _ := see(t, rdb, n.app, "p"); !p.Online || p.Epoch != 3 || p.LastDisconnect.Code != 4000 {
			t.Errorf("back: %+v", p)
		}
	})
}

// After a restart or a failover Redis may know some scripts and not others. An end stays behind
// its connection.
func TestOrderWhereRedisKnowsSomeScripts(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "", directory(t, "")) // without an identity nothing is sent
		n.connect("p", "")(1006, Lost)
		check(t, rdb.ScriptFlush(t.Context()).Err())
		check(t, disconnectedScript.For(rdb).Load(t.Context(), rdb).Err())
		n.Identified("aa")
		n.settled()
		if p, ok := see(t, rdb, n.app, "p"); !ok || len(p.holders) != 0 || p.LastDisconnect == nil {
			t.Errorf("after its only connection has ended: %v %+v", ok, p)
		}
	})
}

// A peer with several connections, also on two nodes, is offline after the last.
func TestSeveralConnections(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		d := directory(t, "")
		one, two := start(t, rdb, "aa", d), start(t, rdb, "bb", d)
		a := one.connect("p", "")
		one.settled()
		b := one.connect("p", "")
		one.settled()
		c := two.connect("p", "")
		two.settled()
		for i, end := range []func(int, Reason){b, c, a} {
			if p, _ := see(t, rdb, one.app, "p"); !p.Online || p.Epoch != 3 || len(p.holders) != 3-i || !slices.Equal(p.Nodes(), [][]string{{"node-aa", "node-bb"}, {"node-aa", "node-bb"}, {"node-aa"}}[i]) {
				t.Errorf("with %d: %+v", 3-i, p)
			}
			end(4020+i, Kicked)
			one.settled()
			two.settled()
			one.pass("p")
		}
		if p, _ := see(t, rdb, one.app, "p"); p.Online || p.LastDisconnect.Code != 4022 {
			t.Errorf("then: %+v", p)
		}
	})
}

// A change whose answer was lost is told again, and counts once.
func TestToldTwice(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		end := n.connect("p", "")
		for _, c := range n.connections() {
			n.Connected(c)
			c.Metadata = []byte(`{"b":2}`)
			n.Connected(c)
		}
		n.settled()
		if p, _ := see(t, rdb, n.app, "p"); p.Epoch != 1 || len(p.holders) != 1 || string(p.Metadata) != `{"b":2}` {
			t.Errorf("%+v", p)
		}
		end(1000, Closed)
		end(1001, GoingAway)
		n.settled()
		if p, _ := see(t, rdb, n.app, "p"); p.LastDisconnect.Code != 1000 {
			t.Errorf("%+v", p)
		}
	})
}

// A node takes another identity: its peers were never gone, and keep their epochs.
func TestAnotherIdentity(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		var ends []func(int, Reason)
		for i := range 50 {
			ends = append(ends, n.connect(fmt.Sprint("p", i), ""))
		}
		n.settled()
		for range 3 {
			ends[0](1006, Lost)
			ends[0] = n.connect("p0", "")
		}
		n.settled()
		n.Identified("bb")
		ends[1](1006, Lost)
		n.settled()
		// As the members' reaper does.
		for b := range keys.Buckets("app") {
			if err := n.Reap(t.Context(), "aa", b); err != nil {
				t.Fatal(err)
			}
		}
		n.pass(namesOf(50)...)
		for i := range 50 {
			p, _ := see(t, rdb, n.app, fmt.Sprint("p", i))
			want := uint64(1)
			if i == 0 {
				want = 4
			}
			if p.Online != (i != 1) || p.Epoch != want {
				t.Errorf("p%d: %+v", i, p)
			}
		}
	})
}

// Another identity follows before anything is stated under the one before, as when a node that
// lost its lease with Redis then sees that another server is in its place: its peers were never
// gone, and the reaper that waits for the node to state them goes on.
func TestTwoIdentitiesInARow(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		n.connect("stays", "")
		end := n.connect("goes", "")
		n.settled()
		n.stop() // nothing is stated until it runs again
		n.Identified("bb")
		waited := n.restated // for by a reaper of aa
		n.Identified("cc")
		end(1006, Lost)
		n.run()
		select {
		case <-waited:
		case <-time.After(patience):
			t.Fatal("the reaper of the first identity still waits")
		}
		for _, former := range []string{"aa", "bb"} {
			for b := range keys.Buckets("app") {
				check(t, n.Reap(t.Context(), former, b))
			}
		}
		if p, _ := see(t, rdb, n.app, "stays"); !p.Online || p.Epoch != 1 || len(p.holders) != 1 || p.LastDisconnect != nil {
			t.Errorf("stays: %+v", p)
		}
		if p, _ := see(t, rdb, n.app, "goes"); len(p.holders) != 0 || p.LastDisconnect.Reason != Lost {
			t.Errorf("goes: %+v", p)
		}
	})
}

func namesOf(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint("p", i))
	}
	return all
}

// A node dies: another ends its connections. Peers that have others stay.
func TestADeadNode(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		d := directory(t, "")
		dead, lives := start(t, rdb, "dead", d), start(t, rdb, "de", d)
		for i := range 300 {
			dead.connect(fmt.Sprint("p", i), "")
		}
		dead.settled()
		dead.stop()
		lives.connect("p7", "")
		lives.settled()
		buckets := rdb.SMembers(t.Context(), keys.LeaseBuckets("dead")).Val()
		if len(buckets) < 100 {
			t.Errorf("%d buckets are known as the dead node's", len(buckets))
		}
		for _, text := range buckets {
			b, _, err := keys.ParseBucket(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := lives.Reap(t.Context(), "dead", b); err != nil {
				t.Fatal(err)
			}
		}
		lives.pass(namesOf(300)...)
		for i := range 300 {
			p, _ := see(t, rdb, lives.app, fmt.Sprint("p", i))
			if p.Online != (i == 7) || p.LastDisconnect.Reason != NodeLost || p.LastDisconnect.Code != CodeLost {
				t.Errorf("p%d: %+v", i, p)
			}
		}
	})
}

// Redis loses everything: a node states its connections again, under the epochs that
// they had.
func TestRedisLosesTheRegistry(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		for range 4 {
			n.connect("p", "")(1006, Lost)
		}
		n.connect("p", "")
		n.settled()
		redistest.Empty(t, rdb)
		n.Identified("bb")
		n.settled()
		if p, ok := see(t, rdb, n.app, "p"); !ok || !p.Online || p.Epoch != 5 {
			t.Errorf("%v %+v", ok, p)
		}
	})
}

// What comes before the node has an identity, or while Redis is away, is told later.
func TestToldLater(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	n := start(t, rdb, "", directory(t, ""))
	n.connect("p", "")
	n.Identified("aa")
	n.settled()
	if p, _ := see(t, rdb, n.app, "p"); !p.Online {
		t.Errorf("%+v", p)
	}
	server.Stop()
	n.connect("q", "")(1006, Lost)
	n.connect("r", "")
	server.Restart()
	n.settled()
	for peer, reason := range map[string]Reason{"q": Lost, "r": ""} {
		p, ok := see(t, rdb, n.app, peer)
		if !ok || (reason == "") != (p.LastDisconnect == nil) {
			t.Errorf("%s: %v %+v", peer, ok, p)
		}
	}
}

// How long a peer has to be back.
func TestGrace(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, `"graceMs":60000,`))
		n.connect("drained", "")(1001, GoingAway)
		n.connect("lost", "")(1006, Lost)
		n.settled()
		now := rdb.Time(t.Context()).Val()
		for peer, want := range map[string]time.Duration{"drained": 70 * time.Second, "lost": 60 * time.Second} {
			due := time.UnixMilli(int64(rdb.ZScore(t.Context(), keys.Bucket("app", peer).Due(string(deadline.Grace)), peer).Val()))
			if left := due.Sub(now); left > want || left < want-10*time.Second {
				t.Errorf("%s has %v, want %v", peer, left, want)
			}
			index := fmt.Sprint(deadline.Grace, " ", keys.Bucket("app", peer))
			if at := rdb.ZScore(t.Context(), keys.DueIndex(), index).Val(); at == 0 || time.UnixMilli(int64(at)).After(due) {
				t.Errorf("nobody looks for %s in time", peer)
			}
		}
	})
}
