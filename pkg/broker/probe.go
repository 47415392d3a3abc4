package broker

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
)

// A node proves again and again that what it publishes comes back to it: with a
// message of its own, written and published as those of clients are, and heard on
// the link as they are. A link can be open and answer pings while it leads to a
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

var probeScript = redis.NewScript(probeLua)

var (
	errElsewhere = errors.New("redis does not deliver to this node's link what it is given to publish; the link leads to another server, as after a failover")
	errUnheard   = fmt.Errorf("redis took a probe to publish, and its link delivered nothing for %v", probePatience)
)

// awaitedProbe is the first probe that has not been heard yet; 0: none.
type awaitedProbe struct {
	number uint64
	since  time.Time
}

// probe does once what the node needs of Redis: it writes, runs a script,
// publishes and reads back. The link subscribes on its own (linkCheck). The error
// says what Redis refused. Whether the probe comes in over the link decides about
// the link alone (Live).
func (b *Broker) probe(ctx context.Context) error {
	in := b.interests
	number := in.probes.Add(1)
	l := in.awaitProbe(number)
	receivers, err := b.sendProbe(ctx, strconv.FormatUint(number, 10))
	if l == nil {
		return err
	}
	if err != nil {
		l.unawait(number)
		return err
	}
	if receivers == 0 {
		l.fail(errElsewhere)
	}
	return l.denial()
}

// denial is Redis's refusal to let the link subscribe; nil: it may.
func (l *link) denial() error {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	return l.denied
}

// sendProbe returns how many subscribers the probe's topic has.
func (b *Broker) sendProbe(ctx context.Context, payload string) (receivers int64, err error) {
	key, topic := b.opt.Keys.Probe(b.opt.Node), b.interests.probeTopic
	// The plain write comes first: what Redis says to it does not name a script.
	if err := b.opt.Redis.Set(ctx, key, payload, probeLease).Err(); err != nil {
		return 0, err
	}
	call := &redisconn.Call{Script: probeScript, Keys: []string{key}, Args: []any{payload, probeLease.Milliseconds(), topic}}
	if err := redisconn.Exec(ctx, b.opt.Redis, []*redisconn.Call{call}); err != nil {
		// Likewise for publishing.
		return 0, cmp.Or(b.opt.Redis.Publish(ctx, topic, payload).Err(), err)
	}
	return call.Reply.Int64()
}

// awaitProbe returns the link that is to deliver the probe, or nil while there is
// none.
func (in *interests) awaitProbe(number uint64) *link {
	in.mu.Lock()
	defer in.mu.Unlock()
	l := in.link
	if l != nil && l.probe.number == 0 {
		l.probe = awaitedProbe{number, time.Now()}
	}
	return l
}

// unawait takes back awaitProbe for a probe that was not published, as far as is
// known.
func (l *link) unawait(number uint64) {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	if l.probe.number == number {
		l.probe = awaitedProbe{}
	}
}

// overdue says whether a probe should have come in by now.
func (l *link) overdue() error {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	if l.probe.number != 0 && time.Since(l.probe.since) > l.in.patience {
		return errUnheard
	}
	return nil
}

// heard takes a probe that has come in over the link.
func (l *link) heard(payload string) {
	number, err := strconv.ParseUint(payload, 10, 64)
	in := l.in
	in.mu.Lock()
	if err != nil || in.link != l || l.probe.number == 0 || number < l.probe.number {
		in.mu.Unlock()
		return
	}
	l.probe = awaitedProbe{}
	var told []settled
	if l.proven.IsZero() {
		l.proven = time.Now()
		if in.trouble != nil {
			in.trouble = nil
			in.opt.Log.Info("the link to redis is up again")
		}
		told = in.takeRestored(told)
	}
	in.mu.Unlock()
	tellAll(told)
}
