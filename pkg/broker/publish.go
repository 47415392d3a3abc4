package broker

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
)

//go:embed publish.lua
var publishLua string

var publishScript = redis.NewScript(quota.BucketLua + publishLua)

// What publish.lua returns in place of a number of nodes.
const (
	overCap  = -1
	overRate = -2
)

// Batch is messages of one app, published in order against one counter.
type Batch struct {
	Counter  quota.Counter
	Messages []*Outgoing
	// Rates hold back messages before they are counted. Their buckets lie in the
	// counter's slot.
	Rates []Rate
}

// Rate is the messages of a batch that need a token each of the same bucket. The
// first get what there are.
type Rate struct {
	Bucket   quota.Bucket
	Messages []int // positions in Batch.Messages, in order; no message has two rates
}

// Outgoing is a message on its way, and what became of it.
type Outgoing struct {
	// CountSubscribers asks for Subscribers; it costs Redis a second script.
	CountSubscribers bool

	// Accepted: within its rate and the cap, and published.
	Accepted bool
	// OverRate: there was no token for it. It is not counted.
	OverRate bool
	// RetryAfter, of a message over its rate: until there is the next token.
	RetryAfter time.Duration
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
	t := b.opt.Keys.Topic(kind, m.App, name)
	return &Outgoing{
		kind: kind, app: m.App, name: t[len(t)-len(name):],
		topic:   t,
		payload: encode(b.process, b.sequence.Add(1), m),
	}
}

// Size is the number of bytes that Redis will be sent for the message.
func (o *Outgoing) Size() int { return len(o.topic) + len(o.payload) }

// Publish holds the batches against their rates, counts and publishes them in one
// round trip (several on miniredis), and fills in what became of each message.
// With an error, what is Accepted was published nevertheless: one app's batch can
// fail alone. Of the rest Redis took nothing, as far as this process can know.
func (b *Broker) Publish(ctx context.Context, batches []Batch) error {
	var err error
	if b.opt.Embedded {
		err = b.publishInSteps(ctx, batches)
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
		keys := []string{batch.Counter.Key}
		args := make([]any, 2, 2+2*len(batch.Messages)+4*len(batch.Rates))
		args[0], args[1] = batch.Counter.Limit, batch.Counter.ExpiresAt.Unix()
		for _, r := range batch.Rates {
			keys = append(keys, r.Bucket.Key)
			args = append(args, r.Bucket.PerSec, r.Bucket.Burst, len(r.Messages))
			for _, i := range r.Messages {
				args = append(args, i+1)
			}
		}
		for _, o := range batch.Messages {
			args = append(args, o.topic, o.payload)
			if o.CountSubscribers {
				counting = append(counting, o)
			}
		}
		calls = append(calls, &redisconn.Call{Script: publishScript, Keys: keys, Args: args})
	}
	counts := b.subscribersCalls(counting)
	failed := redisconn.Exec(ctx, b.opt.Redis, append(calls, counts.calls...))
	for i, batch := range batches {
		reply, err := calls[i].Reply.Int64Slice()
		if err != nil {
			continue // it is failed, or comes after it
		}
		if want := len(batch.Rates) + len(batch.Messages); len(reply) != want {
			return fmt.Errorf("publish.lua returned %d numbers for %d rates and messages", len(reply), want)
		}
		waits, outcomes := reply[:len(batch.Rates)], reply[len(batch.Rates):]
		for j, o := range batch.Messages {
			switch nodes := outcomes[j]; nodes {
			case overRate:
				o.OverRate = true
			case overCap:
			default:
				o.Accepted, o.nodes, o.Found = true, nodes, nodes > 0
			}
		}
		for j, r := range batch.Rates {
			for _, m := range r.Messages {
				if o := batch.Messages[m]; o.OverRate {
					o.RetryAfter = time.Duration(waits[j]) * time.Millisecond
				}
			}
		}
	}
	counts.read(counting)
	return failed
}

// publishInSteps does what publish.lua does for a Redis that cannot PUBLISH from
// a script: it takes the tokens first, then counts, then publishes what passed.
func (b *Broker) publishInSteps(ctx context.Context, batches []Batch) error {
	batches, failed := b.withinRates(ctx, batches)
	if len(batches) == 0 {
		return failed
	}
	p := b.opt.Redis.Pipeline()
	used := make([]*redis.IntCmd, len(batches))
	for i, batch := range batches {
		used[i] = p.IncrBy(ctx, batch.Counter.Key, int64(len(batch.Messages)))
		p.ExpireAt(ctx, batch.Counter.Key, batch.Counter.ExpiresAt)
	}
	if err := exec(ctx, p); err != nil {
		if redisconn.Unreachable(err) {
			return err
		}
		failed = cmp.Or(failed, err)
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
		counts := b.subscribersCalls(counting)
		failed = cmp.Or(failed, redisconn.Exec(ctx, b.opt.Redis, counts.calls))
		counts.read(counting)
	}
	for _, o := range counting {
		o.Found = o.Subscribers > 0
	}
	return failed
}

// withinRates takes the tokens of all batches, and returns what is left of them:
// of a batch whose tokens could not be had, nothing.
func (b *Broker) withinRates(ctx context.Context, batches []Batch) (left []Batch, failed error) {
	var calls []*redisconn.Call
	for _, batch := range batches {
		for _, r := range batch.Rates {
			calls = append(calls, r.Bucket.Take(len(r.Messages)))
		}
	}
	if len(calls) > 0 {
		failed = redisconn.Exec(ctx, b.opt.Redis, calls)
	}
	for _, batch := range batches {
		unknown := false
		for _, r := range batch.Rates {
			n, next, err := quota.Taken(calls[0])
			calls = calls[1:]
			if err != nil {
				unknown = true
				continue
			}
			for _, m := range r.Messages[n:] {
				o := batch.Messages[m]
				o.OverRate, o.RetryAfter = true, next
			}
		}
		within := slices.DeleteFunc(slices.Clone(batch.Messages), func(o *Outgoing) bool { return o.OverRate })
		if !unknown && len(within) > 0 {
			left = append(left, Batch{Counter: batch.Counter, Messages: within})
		}
	}
	return left, failed
}
