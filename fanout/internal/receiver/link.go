package receiver

import (
	"context"
	"errors"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
)

const (
	// linkSilence is how long the link may bring nothing before it is taken for
	// dead. Every linkCheck it subscribes to the probe's topic again: that changes
	// nothing, and has an answer, which says whether Redis still lets it subscribe.
	linkSilence = 1500 * time.Millisecond
	linkCheck   = 500 * time.Millisecond
	// linkRetry is the first pause between attempts to connect again, linkRetryMax
	// the longest. A link that worked for linkRetry is made anew without a pause,
	// since each millisecond loses messages.
	linkRetry    = 100 * time.Millisecond
	linkRetryMax = time.Second
	// topicsPerCommand bounds one SUBSCRIBE.
	topicsPerCommand = 500
)

// link is one connection that subscribes.
type link struct {
	r      *Receiver
	shard  *shard
	pubsub *redis.PubSub
	sent   commands
	fail   context.CancelCauseFunc // ends run with an error

	// Under Receiver.mu.
	proven time.Time // when the first probe came in
	probe  awaitedProbe
	denied error // Redis lets this link subscribe no more
}

// run connects, and does what is wanted until the link fails.
func (l *link) run(ctx context.Context) error {
	ctx, l.fail = context.WithCancelCause(redisconn.DialOnce(ctx))
	defer l.fail(nil)
	l.pubsub = l.shard.prober.redis.Subscribe(ctx)
	defer func() { _ = l.pubsub.Close() }()
	if err := l.send(ctx, subscribe, l.shard.prober.topic); err != nil {
		return err
	}
	received := make(chan struct{})
	go func() {
		defer close(received)
		l.fail(l.receive(ctx))
	}()
	if err := l.follow(ctx); ctx.Err() == nil {
		l.fail(err)
	}
	_ = l.pubsub.Close() // ends receive
	<-received
	return context.Cause(ctx)
}

// receive takes what Redis sends until the link fails. It never calls Redis and
// never waits for anything else: an embedded Redis stands still until its
// subscribers have read.
func (l *link) receive(ctx context.Context) error {
	for {
		message, err := l.pubsub.ReceiveTimeout(ctx, linkSilence)
		if err != nil {
			if err = l.refused(err); err != nil {
				return err
			}
			continue
		}
		switch m := message.(type) {
		case *redis.Message:
			err = l.take(m)
		case *redis.Subscription:
			err = l.confirmed(verb(m.Kind), m.Channel)
		}
		if err != nil {
			return err
		}
	}
}

// take puts a message into the inbox.
func (l *link) take(m *redis.Message) error {
	var d envelope.Delivery
	var ok bool
	if d.Kind, d.App, d.Channel, ok = l.r.opt.Keys.ParseTopic(m.Channel); !ok {
		if m.Channel == l.shard.prober.topic {
			l.probeReceived(m.Payload)
		}
		return nil
	}
	switch d.Kind {
	case envelope.KindPresence:
		d.Frame = bytesOf(m.Payload)
		d.ID.Sequence = announcementID(m)
	default:
		if err := d.Decode(bytesOf(m.Payload)); err != nil {
			l.r.opt.Log.Warn("a message on a fleetwire channel in redis is not from fleetwire, dropped", "channel", d.Channel, "err", err)
			return nil
		}
		if d.ID.Process != l.r.opt.Process {
			if d.Only != 0 {
				return nil // for a connection elsewhere
			}
			d.Publisher = 0
		}
	}
	return l.r.inbox.add(d)
}

// bytesOf gives a string's bytes without copying them. They must not be
// changed; deliveries are read only, by contract.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// confirmed takes Redis's confirmation of a command for one topic.
func (l *link) confirmed(v verb, topic string) error {
	if err := l.sent.answered(v, topic); err != nil {
		return err
	}
	switch topic {
	case l.shard.prober.topic:
		if l.allowed() {
			l.shard.up(l)
			l.r.opt.Health.Look() // which sends a probe
		}
	default:
		l.shard.confirm(topic)
	}
	return nil
}

// refused takes an error that came from the link. An error that Redis replies to a
// command concerns only the callers that asked for its topics; any other ends the link.
func (l *link) refused(err error) error {
	var reply redis.Error
	if !errors.As(err, &reply) || redisconn.Unreachable(err) || ofRedis(err) {
		return err
	}
	c, ok := l.sent.refused()
	if !ok {
		return err
	}
	if c.topics[0] == l.shard.prober.topic {
		return l.deny(err)
	}
	l.shard.refuse(c.topics, err)
	return nil
}

// deny takes Redis's refusal to subscribe to the probe's topic. A link that is up
// goes on delivering what it is subscribed to; the next probe fails with it.
func (l *link) deny(err error) error {
	l.r.mu.Lock()
	up := l.shard.link == l
	l.denied = err
	l.r.mu.Unlock()
	if !up {
		return err
	}
	l.r.opt.Health.Look()
	return nil
}

// allowed takes Redis's confirmation of the probe's topic, and says whether it is
// the first.
func (l *link) allowed() (first bool) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	l.denied = nil
	return l.shard.link != l
}

// ofRedis says whether a reply is about Redis as a whole rather than about the
// topics of a command.
func ofRedis(err error) bool {
	for _, prefix := range []string{"BUSY", "NOAUTH", "ERR max number of clients"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}

// follow sends Redis what has changed until the link fails.
func (l *link) follow(ctx context.Context) error {
	tick := time.NewTicker(linkCheck)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			l.shard.retryRefused()
			if err = l.probeOverdue(); err == nil {
				err = l.send(ctx, subscribe, l.shard.prober.topic)
			}
			if err == nil {
				err = l.r.tendCounts(ctx)
			}
		case <-l.shard.wake:
			err = l.shard.flush(ctx, l)
		}
		if err != nil {
			return err
		}
	}
}
