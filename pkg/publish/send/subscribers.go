package send

import (
	_ "embed"

	"fleetwire/pkg/redisconn"
)

// Each node keeps in Redis how many of its connections are subscribed to each
// channel by name (fanout/internal/receiver). A publish adds them up.

//go:embed subscribers.lua
var subscribersLua string

// KEYS[1] the set of nodes that have subscribers in the channel's bucket; ARGV: the channel,
// and what precedes a node's name in the key of its counts.
var subscribersScript = redisconn.NewScript(subscribersLua + "return count_subscribers(KEYS[1], ARGV[1], ARGV[2])")

// countCalls count the subscribers of channels on all nodes: of each once, however
// many messages want to know.
type countCalls struct {
	calls []*redisconn.Call
	of    map[string]*redisconn.Call // by topic
}

func (sender *Sender) subscribersCalls(counting []*Outgoing) countCalls {
	c := countCalls{of: make(map[string]*redisconn.Call, len(counting))}
	for _, o := range counting {
		if c.of[o.topic] != nil {
			continue
		}
		in := sender.keys.Bucket(o.app, o.name)
		call := &redisconn.Call{
			Script: subscribersScript,
			Keys:   []string{in.SubscriberNodes()},
			Args:   []any{o.name, in.Subscribers("")},
		}
		c.of[o.topic] = call
		c.calls = append(c.calls, call)
	}
	return c
}

// read fills in Subscribers, once Redis has answered.
func (c countCalls) read(counting []*Outgoing) {
	for _, o := range counting {
		if n, err := c.of[o.topic].Reply.Int64(); err == nil && o.nodes > 0 {
			o.Subscribers = n
		}
	}
}
