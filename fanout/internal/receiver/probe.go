package receiver

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// A node proves again and again that what it publishes comes back to it: with a
// message of its own, written and published as those of clients are, and received
// on the link as they are. A link can be open and answer pings while it leads to a
// server that gets no more publishes, after a failover behind a proxy or a
// virtual address.

const (
	// probePatience is how long a published probe may take to come in. It is
	// generous, as it waits behind the messages that the node has yet to read.
	probePatience = 2 * time.Second
	probeLease    = 10 * time.Second
)

//go:embed probe.lua
var probeLua string

var probeScript = redisconn.NewScript(probeLua)

var errOtherServer = errors.New("redis does not deliver to this node's link what it is given to publish; the link leads to another server, as after a failover")

// prober sends a node's probes.
type prober struct {
	redis redis.UniversalClient
	at    atomic.Pointer[probePlace]
	sent  atomic.Uint64
}

// probePlace is where a Redis is probed. On a cluster that is a slot of the master.
type probePlace struct {
	key, topic string
	sharded    bool
	slot       int
}

func placeOnServer(keys rediskeys.Namespace, node string) *probePlace {
	return &probePlace{key: keys.Probe(node), topic: keys.ProbeTopic(node)}
}

func placeOnMaster(keys rediskeys.Namespace, node string, slot int) *probePlace {
	return &probePlace{keys.ProbeIn(slot, node), keys.ProbeTopicIn(slot, node), true, slot}
}

func newProber(rdb redis.UniversalClient, at *probePlace) *prober {
	p := &prober{redis: rdb}
	p.at.Store(at)
	return p
}

// send does once what the node needs of Redis: it writes, runs a script, publishes
// and reads back. It returns how many subscribers the probe's topic has. The error
// says what Redis refused.
func (p *prober) send(ctx context.Context, at *probePlace, number uint64) (receivers int64, err error) {
	payload := strconv.FormatUint(number, 10)
	// The plain write comes first: what Redis says to it does not name a script.
	if err := p.redis.Set(ctx, at.key, payload, probeLease).Err(); err != nil {
		if at.sharded && onItsWay(err) {
			return p.redis.SPublish(ctx, at.topic, payload).Result()
		}
		return 0, err
	}
	call := &redisconn.Call{Script: probeScript, Keys: []string{at.key}, Args: []any{payload, probeLease.Milliseconds(), at.topic, "PUBLISH"}}
	publish := p.redis.Publish
	if at.sharded {
		call.Args[3], publish = "SPUBLISH", p.redis.SPublish
	}
	if err := redisconn.Exec(ctx, p.redis, []*redisconn.Call{call}); err != nil {
		// Likewise for publishing.
		return 0, cmp.Or(publish(ctx, at.topic, payload).Err(), err)
	}
	return call.Reply.Int64()
}

// onItsWay says whether a master refused to write as the slot is moving to another, and the
// key is there already. It still delivers.
func onItsWay(err error) bool {
	return redis.HasErrorPrefix(err, "ASK ") || redis.HasErrorPrefix(err, "TRYAGAIN ")
}

// awaitedProbe is the first probe that has not come in yet; 0: none.
type awaitedProbe struct {
	number uint64
	since  time.Time
}

// probe says whether Redis works; of a cluster, whether all slots have masters, each of which
// is probed by itself.
func (r *Receiver) probe(ctx context.Context) error {
	if r.cluster != nil {
		return r.cluster.uncovered()
	}
	return r.shards[0].probe(ctx)
}

// probe says whether Redis works, by one probe. The link subscribes on its own
// (linkCheck). Whether the probe comes in over the link decides about the link
// alone (Live).
func (sh *shard) probe(ctx context.Context) error {
	number := sh.prober.sent.Add(1)
	at := sh.prober.at.Load()
	l := sh.awaitProbe(at, number)
	receivers, err := sh.prober.send(ctx, at, number)
	if err != nil && l != nil {
		l.cancelProbe(number)
	}
	if sh.sharded() && redis.HasErrorPrefix(err, "MOVED ") {
		// The master is a replica now, or has lost the slot. Its other slots work, or move.
		sh.r.lookForMasters()
		return nil
	}
	if err != nil || l == nil {
		return err
	}
	if receivers == 0 {
		l.fail(errOtherServer)
	}
	return l.denial()
}

// awaitProbe returns the link that is to deliver the probe, or nil while there is
// none.
func (sh *shard) awaitProbe(at *probePlace, number uint64) *link {
	sh.r.mu.Lock()
	defer sh.r.mu.Unlock()
	l := sh.link
	if l == nil || l.hears != at.topic {
		return nil
	}
	if l.probe.number == 0 {
		l.probe = awaitedProbe{number, time.Now()}
	}
	return l
}

// probeAt has the master probed in another of its slots. It is called with r.mu held.
func (sh *shard) probeAt(at *probePlace) {
	sh.prober.at.Store(at)
	if sh.link != nil {
		sh.link.probe = awaitedProbe{} // it may have gone with the slot
	}
}

// cancelProbe takes back awaitProbe for a probe that was not published, as far as is
// known.
func (l *link) cancelProbe(number uint64) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.probe.number == number {
		l.probe = awaitedProbe{}
	}
}

// denial is Redis's refusal to let the link subscribe; nil: it may.
func (l *link) denial() error {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	return l.denied
}

// probeOverdue says whether a probe should have come in by now.
func (l *link) probeOverdue() error {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.probe.number != 0 && time.Since(l.probe.since) > l.r.patience {
		return fmt.Errorf("redis took a probe to publish, and its link delivered nothing for %v", l.r.patience)
	}
	return nil
}

// probeReceived takes a probe that has come in over the link.
func (l *link) probeReceived(payload string) {
	number, err := strconv.ParseUint(payload, 10, 64)
	sh := l.shard
	sh.r.mu.Lock()
	if err != nil || sh.link != l || l.probe.number == 0 || number < l.probe.number {
		sh.r.mu.Unlock()
		return
	}
	l.probe = awaitedProbe{}
	var completed []completion
	if l.proven.IsZero() {
		l.proven = time.Now()
		if sh.trouble != nil {
			sh.trouble = nil
			var about []any
			if sh.addr != "" {
				about = []any{"master", sh.addr}
			}
			sh.r.opt.Log.Info("the link to redis is up again", about...)
		}
		completed = sh.takeRestored(completed)
	}
	sh.r.mu.Unlock()
	completeAll(completed)
}
