package receiver

import (
	"context"
	"fmt"
	"sync"
)

// verb is a command that a link sends, as Redis spells it in its confirmations.
type verb string

const (
	subscribe    verb = "subscribe"
	psubscribe   verb = "psubscribe"
	unsubscribe  verb = "unsubscribe"
	punsubscribe verb = "punsubscribe"

	// On a cluster, of topics that have slots.
	ssubscribe   verb = "ssubscribe"
	sunsubscribe verb = "sunsubscribe"
)

func verbFor(sharded, wanted, pattern bool) verb {
	switch {
	case sharded && wanted:
		return ssubscribe
	case sharded:
		return sunsubscribe
	case wanted && pattern:
		return psubscribe
	case wanted:
		return subscribe
	case pattern:
		return punsubscribe
	}
	return unsubscribe
}

// command is what was sent, less the topics that Redis has confirmed.
type command struct {
	verb   verb
	topics []string
}

// commands are those of a link that Redis has yet to answer. It answers in order:
// with one confirmation for each topic, or with one error for all of them that
// names none.
type commands struct {
	mu   sync.Mutex
	sent []command
}

func (c *commands) add(one command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, one)
}

// next is the first topic of the command that Redis answers next; "" if none is awaited.
func (c *commands) next() (v verb, topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) == 0 {
		return "", ""
	}
	return c.sent[0].verb, c.sent[0].topics[0]
}

// awaits says whether the next answer is to confirm that.
func (c *commands) awaits(v verb, topic string) bool {
	nextVerb, nextTopic := c.next()
	return v == nextVerb && topic == nextTopic
}

// answered takes the confirmation of the next topic.
func (c *commands) answered(v verb, topic string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) == 0 || c.sent[0].verb != v || c.sent[0].topics[0] != topic {
		return fmt.Errorf("redis confirms a %s of %q, which is not what was asked next", v, topic)
	}
	first := &c.sent[0]
	if first.topics = first.topics[1:]; len(first.topics) == 0 {
		c.drop()
	}
	return nil
}

// refused takes an error, and returns the command that it answers.
func (c *commands) refused() (command, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) == 0 {
		return command{}, false
	}
	first := c.sent[0]
	c.drop()
	return first, true
}

// drop takes the first out. It is called with c.mu held.
func (c *commands) drop() {
	c.sent[0] = command{} // let go of the topics
	if c.sent = c.sent[1:]; len(c.sent) == 0 {
		c.sent = nil
	}
}

// send sends a command. The commands go out in the order in which their answers are
// awaited.
func (l *link) send(ctx context.Context, v verb, topics ...string) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	l.sent.add(command{v, topics})
	switch v {
	case subscribe:
		return l.pubsub.Subscribe(ctx, topics...)
	case psubscribe:
		return l.pubsub.PSubscribe(ctx, topics...)
	case unsubscribe:
		return l.pubsub.Unsubscribe(ctx, topics...)
	case ssubscribe:
		return l.pubsub.SSubscribe(ctx, topics...)
	case sunsubscribe:
		return l.pubsub.SUnsubscribe(ctx, topics...)
	default:
		return l.pubsub.PUnsubscribe(ctx, topics...)
	}
}
