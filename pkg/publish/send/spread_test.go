package send

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// apart are names of channels in buckets of their own, so many of them at each master.
func apart(c *onCluster, cluster *redistest.Cluster, each int) (names []string) {
	count, buckets := map[*redistest.Server]int{}, map[rediskeys.Bucket]bool{}
	for i := 0; len(names) < each*3; i++ {
		name := fmt.Sprintf("devices/%d", i)
		bucket := c.keys.Bucket("app", name)
		if at := cluster.Master(string(bucket)); !buckets[bucket] && count[at] < each {
			count[at]++
			buckets[bucket] = true
			names = append(names, name)
		}
	}
	return names
}

func (c *onCluster) topics(names []string) (topics []string) {
	for _, name := range names {
		topics = append(topics, c.keys.Topic(rediskeys.Messages, "app", name))
	}
	return topics
}

// toEach is a message to each of the channels.
func (c *onCluster) toEach(names []string, data string) (messages []*Outgoing) {
	for _, name := range names {
		messages = append(messages, c.to(name, `"`+data+`"`))
	}
	return messages
}

func (c *onCluster) sent(messages []*Outgoing) {
	c.t.Helper()
	if err := c.Send(c.t.Context(), []Batch{c.batch(messages...)}); err != nil {
		c.t.Fatal(err)
	}
	for i, o := range messages {
		if !o.Accepted || o.Unknown {
			c.t.Errorf("message %d: %+v", i, o)
		}
	}
}

// Messages of several buckets go out in order, once to each that is subscribed by name, and
// once to wildcards, from the first message on that comes after their key.
func TestSpreads(t *testing.T) {
	cluster := redistest.SharedCluster(t)
	c := newOnCluster(t, cluster.Client(), 1000)
	names := apart(c, cluster, 3)
	wild := c.keys.Bucket("app", names[0])
	peers := []string{"peer"}
	for _, name := range apart(c, cluster, 6) { // in buckets without channels, and not there
		if !slices.Contains(names, name) {
			peers = append(peers, name)
		}
	}
	heard := c.heard(append(c.topics(names), c.keys.Topic(rediskeys.Peer, "app", "peer"), c.keys.AllTopic(wild, rediskeys.Messages))...)
	for i, round := range []string{"1", "2", "3", "4", "end"} {
		switch i {
		case 1: // wildcards do not hear what goes to a peer
			c.rdb.Set(t.Context(), wild.Wildcards(rediskeys.Messages), 1, time.Minute)
			for _, peer := range peers {
				c.rdb.Set(t.Context(), c.keys.Bucket("app", peer).Wildcards(rediskeys.Messages), 1, time.Minute)
			}
		case 3:
			c.rdb.Del(t.Context(), wild.Wildcards(rediskeys.Messages))
		case 4:
			c.rdb.Set(t.Context(), wild.Wildcards(rediskeys.Messages), 1, time.Minute)
		}
		messages := append(c.toEach(names, round), c.toEach(names, round+"b")...)
		if round == "end" {
			messages = c.toEach(names, round)
		}
		for _, peer := range peers {
			messages = append(messages, c.Prepare(&envelope.Message{App: "app", To: peer, From: "p", Data: []byte(`"` + round + `"`)}))
		}
		c.sent(messages)
		for i, o := range messages[len(messages)-len(peers):] {
			if o.Found != (i == 0) {
				t.Errorf("round %s: %s was found: %v", round, peers[i], o.Found)
			}
		}
	}
	got := strings.Split(heard(), "; ")
	for i, of := range got[:len(names)] {
		if of != "1 1b 2 2b 3 3b 4 4b end" {
			t.Errorf("%s heard %s", names[i], of)
		}
	}
	name := names[0]
	want := strings.ReplaceAll("NAME=2 NAME=2b NAME=3 NAME=3b NAME=end", "NAME", name)
	if got[len(names)] != "1 2 3 4 end" || got[len(names)+1] != want {
		t.Errorf("a peer heard %s, wildcards %s; want %s", got[len(names)], got[len(names)+1], want)
	}
	if want := int64(4*(2*len(names)+len(peers)) + len(names) + len(peers)); c.used() != want {
		t.Errorf("used %d, want %d", c.used(), want)
	}
}

// A node that hears a channel by name and by wildcard gets both copies of a message one after
// the other, also of the first ones after the wildcard's key was set: by that it knows that
// they are one.
func TestSpreadsBothCopiesTogether(t *testing.T) {
	c := newOnCluster(t, redistest.SharedCluster(t).Client(), 1000)
	bucket := c.keys.Bucket("app", "a")
	all := c.keys.AllTopic(bucket, rediskeys.Messages)
	topic := c.keys.Topic(rediskeys.Messages, "app", "a")
	sub := c.rdb.SSubscribe(t.Context(), topic, all)
	defer sub.Close()
	for range 2 {
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.sent([]*Outgoing{c.to("a", `1`), c.to("a", `2`)})
	c.rdb.Set(t.Context(), bucket.Wildcards(rediskeys.Messages), 1, time.Minute)
	c.sent([]*Outgoing{c.to("a", `3`), c.to("a", `4`)})
	want := []string{topic, topic, topic, all, topic, all}
	var last string
	for i, want := range want {
		m, err := sub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.Channel != want {
			t.Errorf("message %d came by %s, want %s", i, m.Channel, want)
		}
		if want == all && m.Payload != "a\n"+last {
			t.Errorf("%q follows %q", m.Payload, last)
		}
		last = m.Payload
	}
}

// A channel whose slot has moved is published to at its new master, once, and holds up no other.
func TestSpreadsWhereSlotsAre(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartClusterOf(t, 3, 0)
	c := newOnCluster(t, redistest.Patient(cluster.Client()), 1000)
	names := apart(c, cluster, 3)
	c.sent(c.toEach(names, "0"))
	bucket := string(c.keys.Bucket("app", names[4]))
	from := cluster.Master(bucket)
	to := cluster.Nodes[0]
	if from == to {
		to = cluster.Nodes[1]
	}
	cluster.Migrate(bucket, to)
	there := newOnCluster(t, redistest.Patient(cluster.Client()), 1000)
	heard := there.heard(there.topics(names)...)
	for _, data := range []string{"1", "2", "end"} {
		c.sent(c.toEach(names, data))
	}
	if got := heard(); got != strings.Repeat("1 2 end; ", 8)+"1 2 end" {
		t.Errorf("heard %s", got)
	}
	if got := c.used(); got != 36 {
		t.Errorf("used %d, want 36", got)
	}
}

// A master publishes no message that reaches it after the deadline, also if the others got theirs in time.
func TestSpreadsNothingLate(t *testing.T) {
	cluster := redistest.SharedCluster(t)
	held := cluster.Nodes[0]
	if held == cluster.Master(rediskeys.Namespace{}.MessageCount("app", "test")) {
		held = cluster.Nodes[1]
	}
	proxy := redistest.NewProxy(t, held.Addr())
	rdb := redisconn.NewCluster(&redis.ClusterOptions{
		Addrs: cluster.Client().Options().Addrs, Protocol: 2, DisableIdentity: true,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == held.Addr() {
				addr = strings.TrimPrefix(proxy.URL(), "redis://")
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	})
	defer rdb.Close()
	c := newOnCluster(t, rdb, 1000)
	names := apart(c, cluster, 2)
	heard := newOnCluster(t, cluster.Client(), 0).heard(c.topics(names)...)
	c.sent(c.toEach(names, "before"))
	release, through := make(chan struct{}), make(chan struct{}, 10)
	proxy.Pass(func(p []byte) ([]byte, bool) {
		if bytes.Contains(p, []byte("late")) {
			<-release
			through <- struct{}{}
		}
		return p, false
	}, nil)
	late := c.toEach(names, "late")
	ctx, cancel := context.WithTimeout(t.Context(), lateTime)
	defer cancel()
	if err := c.Send(ctx, []Batch{c.batch(late...)}); err == nil {
		t.Error("no error, though a master got nothing")
	}
	close(release)
	<-through
	proxy.Pass(nil, nil)
	unknown := 0
	for i, o := range late {
		hangs := cluster.Master(string(c.keys.Bucket("app", names[i]))) == held
		if o.Accepted == hangs || o.Unknown != hangs {
			t.Errorf("%s: accepted %v, unknown %v; its master was held up: %v", names[i], o.Accepted, o.Unknown, hangs)
		}
		if hangs {
			unknown++
		}
	}
	c.sent(c.toEach(names, "end"))
	if got := heard(); strings.Count(got, "before late end") != len(names)-unknown || strings.Count(got, "before end") != unknown || unknown != 2 {
		t.Errorf("heard %s; want %d without what was late", got, unknown)
	}
	if got := c.used(); got != int64(3*len(names)) {
		t.Errorf("used %d, want %d", got, 3*len(names))
	}
}
