package history_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/history"
	"fleetwire/pkg/redisconn/redistest"
)

func readOf(channel string) history.Read { return history.Read{Channel: channel} }

// otherEpoch expects that the channel has begun another epoch, in which it has what is left.
func (p *process) otherEpoch(channel string, was protocol.Position, want string) protocol.Position {
	p.t.Helper()
	r := p.since(channel, was)
	p.want(r, want)
	if r.Position.Epoch == was.Epoch {
		p.t.Errorf("%s goes on in the epoch of before", channel)
	}
	return r.Position
}

// TestLostData: positions from before Redis lost its data are not taken for new ones.
func TestLostData(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, appOf(t, rules))
		for _, channel := range []string{"one/a", "three/a"} {
			was := p.publish(channel, "1")
			redistest.Empty(t, rdb)
			now := p.publish(channel, "2")
			p.publish(channel, "3")
			if now.Offset != 1 || now.Epoch == was.Epoch {
				t.Errorf("published at %v after %v", now, was)
			}
			p.otherEpoch(channel, was, map[string]string{"one/a": "2: 2=3", "three/a": "2: 1=2 2=3"}[channel])
		}
	})
}

// TestFailover: a replica that lags is promoted. Acknowledged messages are lost, and
// positions of before are not taken for those of after. A process that stays connected
// notices within a second.
func TestFailover(t *testing.T) {
	ctx := context.Background()
	primary, replica := redistest.Start(t), redistest.Start(t)
	proxy := redistest.NewProxy(t, primary.Addr())
	p := newProcess(t, redistest.Client(t, proxy.URL()), appOf(t, rules))
	second := replica.Client()
	follow(t, second, primary.Addr())
	channels := []string{"one/a", "three/a"}
	was := map[string]protocol.Position{}
	for _, c := range channels {
		p.publish(c, "1")
		p.publish(c, "2")
	}
	redistest.Eventually(t, 10*time.Second, "the replica has all", func() bool {
		return second.Get(ctx, keys.Bucket("app", "one/a").Last("one/a")).Val() == primary.Client().Get(ctx, keys.Bucket("app", "one/a").Last("one/a")).Val() &&
			second.LLen(ctx, keys.Bucket("app", "three/a").History("three/a")).Val() == 2
	})
	second.Do(ctx, "REPLICAOF", "NO", "ONE") // from here on it misses what the primary takes
	for _, c := range channels {
		was[c] = p.publish(c, `"lost"`)
	}
	proxy.Lead(replica.Addr())
	primary.Stop()
	for _, c := range channels {
		p.retry(func() error { return p.store.Read(ctx, []*history.Read{{App: p.app, Channel: c}}) })
	}
	one := p.otherEpoch("one/a", was["one/a"], "1: 1=2")
	three := p.otherEpoch("three/a", was["three/a"], "2: 1=1 2=2")
	if at := p.publish("one/a", "3"); at != (protocol.Position{Epoch: one.Epoch, Offset: 2}) {
		t.Errorf("published at %v after %v", at, one)
	}
	if at := p.publish("three/a", "3"); at != (protocol.Position{Epoch: three.Epoch, Offset: 3}) {
		t.Errorf("published at %v after %v", at, three)
	}
	p.want(p.since("three/a", three), "recovered 3: 3=3")
	p.want(p.since("one/a", one), "recovered 2: 2=3")
}

// TestDemotedAndPromoted: the same process of Redis, whose data became another's meanwhile.
// Its run_id stays, and master_replid tells.
func TestDemotedAndPromoted(t *testing.T) {
	ctx := context.Background()
	first, second := redistest.Start(t), redistest.Start(t)
	a, b := first.Client(), second.Client()
	follow(t, b, first.Addr())
	p := newProcess(t, a, appOf(t, rules))
	p.publish("three/a", "1")
	redistest.Eventually(t, 10*time.Second, "the replica has all", func() bool {
		return b.LLen(ctx, keys.Bucket("app", "three/a").History("three/a")).Val() == 1
	})
	b.Do(ctx, "REPLICAOF", "NO", "ONE")
	was := p.publish("three/a", `"lost"`)
	follow(t, a, second.Addr())
	redistest.Eventually(t, 10*time.Second, "it has the other's data", func() bool {
		return a.LLen(ctx, keys.Bucket("app", "three/a").History("three/a")).Val() == 1
	})
	a.Do(ctx, "REPLICAOF", "NO", "ONE")
	fresh := newProcess(t, a, p.app) // a process that knew the generation of before asks after a second
	fresh.otherEpoch("three/a", was, "1: 1=1")
}

// follow has a Redis replicate another one, and waits until it does.
func follow(t *testing.T, rdb redis.UniversalClient, addr string) {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	of := redistest.Client(t, "redis://"+addr)
	if err := of.ConfigSet(context.Background(), "repl-diskless-sync-delay", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Do(context.Background(), "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, 20*time.Second, fmt.Sprint("a replica of ", addr), func() bool {
		return strings.Contains(rdb.Info(context.Background(), "replication").Val(), "master_link_status:up")
	})
}

// retry waits until what fails while a connection is lost works again.
func (p *process) retry(do func() error) {
	p.t.Helper()
	redistest.Eventually(p.t, 10*time.Second, "Redis answers", func() bool { return do() == nil })
}
