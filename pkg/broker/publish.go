package broker

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
)

//go:embed publish.lua
var publishLua string

var publishScript = redis.NewScript(publishLua)

// Batch is messages of one app, published in order against one counter.
type Batch struct {
	Counter  quota.Counter
	Messages []*Outgoing
}

// Outgoing is a message on its way, and what became of it.
type Outgoing struct {
	// CountSubscribers asks for Subscribers; it costs Redis a second script.
	CountSubscribers bool

	// Accepted: within the cap, and published.
	Accepted bool
	// Subscribers is how many connections were subscribed to the channel by name
	// on all nodes. Of a node that has just died it may still be counted in what
	// its lease says, unless no node at all received the message.
	Subscribers int64
	// Found, of a direct message: the peer has a connection on some node.
	Found bool

	kind      Kind
	app, name string // the channel or the peer
	topic     string
	payload   []byte
	nodes     int64 // how many nodes Redis handed it to
}

// Prepare turns a message into what travels. Everything of the
// message is copied, but for the app's id.
func (b *Broker) Prepare(m *Message) *Outgoing {
	kind, name := KindMessages, m.Channel
	if m.To != "" {
		kind, name = KindPeer, m.To
	}
	t := topic(kind, m.App, name)
	return &Outgoing{
		kind: kind, app: m.App, name: t[len(t)-len(name):],
		topic:   t,
		payload: encode(b.process, b.sequence.Add(1), m),
	}
}

// Size is the number of bytes that Redis will be sent for the message.
func (o *Outgoing) Size() int { return len(o.topic) + len(o.payload) }

// Publish counts and publishes the batches in one round trip (two on miniredis),
// and fills in what became of each message. With an error, what is Accepted was
// published nevertheless: one app's batch can fail alone. Of the rest Redis took
// nothing, as far as this process can know.
func (b *Broker) Publish(ctx context.Context, batches []Batch) error {
	var err error
	if b.opt.Embedded {
		err = b.publishInTwoSteps(ctx, batches)
	} else {
		err = b.publishScripted(ctx, batches)
	}
	b.opt.Health.Observe(err)
	return err
}

func (b *Broker) publishScripted(ctx context.Context, batches []Batch) error {
	calls := make([]*redisconn.Call, 0, len(batches)+1)
	var counting []*Outgoing
	for _, batch := range batches {
		args := make([]any, 2, 2+2*len(batch.Messages))
		args[0], args[1] = batch.Counter.Limit, batch.Counter.ExpiresAt.Unix()
		for _, o := range batch.Messages {
			args = append(args, o.topic, o.payload)
			if o.CountSubscribers {
				counting = append(counting, o)
			}
		}
		calls = append(calls, &redisconn.Call{Script: publishScript, Keys: []string{batch.Counter.Key}, Args: args})
	}
	counts := subscribersCalls(counting)
	failed := redisconn.Exec(ctx, b.opt.Redis, append(calls, counts.calls...))
	for i, batch := range batches {
		reply, err := calls[i].Reply.Int64Slice()
		if err != nil {
			continue // it is failed, or comes after it
		}
		if len(reply) == 0 || len(reply) != int(reply[0])+1 || len(reply) > len(batch.Messages)+1 {
			return fmt.Errorf("publish.lua returned %d numbers for %d messages", len(reply), len(batch.Messages))
		}
		for j, nodes := range reply[1:] {
			o := batch.Messages[j]
			o.Accepted, o.nodes, o.Found = true, nodes, nodes > 0
		}
	}
	counts.read(counting)
	return failed
}

// publishInTwoSteps does what publish.lua does for a Redis that cannot PUBLISH
// from a script: it counts first, and publishes what passed.
func (b *Broker) publishInTwoSteps(ctx context.Context, batches []Batch) error {
	p := b.opt.Redis.Pipeline()
	used := make([]*redis.IntCmd, len(batches))
	for i, batch := range batches {
		used[i] = p.IncrBy(ctx, batch.Counter.Key, int64(len(batch.Messages)))
		p.ExpireAt(ctx, batch.Counter.Key, batch.Counter.ExpiresAt)
	}
	failed := exec(ctx, p)
	if failed != nil && redisconn.Unreachable(failed) {
		return failed
	}

	p = b.opt.Redis.Pipeline()
	var passed, counting []*Outgoing
	var nodes []*redis.IntCmd
	for i, batch := range batches {
		if used[i].Err() != nil {
			continue
		}
		n := int64(len(batch.Messages))
		if limit := batch.Counter.Limit; limit >= 0 && used[i].Val() > limit {
			n = max(0, n-(used[i].Val()-limit))
		}
		for _, o := range batch.Messages[:n] {
			passed = append(passed, o)
			nodes = append(nodes, p.Publish(ctx, o.topic, o.payload))
			if o.CountSubscribers || o.kind == KindPeer {
				counting = append(counting, o)
			}
		}
	}
	if len(passed) == 0 {
		return failed
	}
	if err := exec(ctx, p); err != nil {
		if redisconn.Unreachable(err) {
			return err
		}
		failed = cmp.Or(failed, err)
	}
	for i, o := range passed {
		o.Accepted, o.nodes = nodes[i].Err() == nil, nodes[i].Val()
	}
	if len(counting) > 0 {
		counts := subscribersCalls(counting)
		failed = cmp.Or(failed, redisconn.Exec(ctx, b.opt.Redis, counts.calls))
		counts.read(counting)
	}
	for _, o := range counting {
		o.Found = o.Subscribers > 0
	}
	return failed
}
