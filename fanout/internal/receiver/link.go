package receiver

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
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
	r       *Receiver
	shard   *shard
	pubsub  *redis.PubSub
	sent    commands
	sending sync.Mutex              // has one goroutine at a time send
	fail    context.CancelCauseFunc // ends run with an error

	// Owned by the goroutine of receive: the message received last. Redis writes the
	// copies of one message, for a subscription and for each pattern that matches, one
	// right after the other.
	received envelope.ID

	// Under Receiver.mu.
	hears  string    // the topic of probes that Redis has confirmed
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
	if err := l.subscribeToProbes(ctx); err != nil {
		return err
	}
	var parts sync.WaitGroup
	parts.Go(func() { l.fail(l.receive(ctx)) })
	parts.Go(func() { l.fail(l.watch(ctx)) })
	if err := l.follow(ctx); ctx.Err() == nil {
		l.fail(err)
	}
	_ = l.pubsub.Close() // ends receive
	parts.Wait()
	return context.Cause(ctx)
}

func (l *link) subscribeToProbes(ctx context.Context) error {
	return l.send(ctx, verbFor(l.shard.sharded(), true, false), l.shard.prober.at.Load().topic)
}

// receive takes what Redis sends until the link fails. It never calls Redis and
// never waits for anything else: an embedded Redis stands still until its
// subscribers have read.
func (l *link) receive(ctx context.Context) error {
	silence := cmp.Or(l.r.opt.Patience, linkSilence)
	for {
		message, err := l.pubsub.ReceiveTimeout(ctx, silence)
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
			if v := verb(m.Kind); v == sunsubscribe && !l.sent.awaits(v, m.Channel) {
				l.pushedOut(m.Channel)
			} else {
				err = l.confirmed(v, m.Channel)
			}
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
		if l.isProbe(m.Channel) {
			l.probeReceived(m.Payload)
			return nil
		}
		if d.Kind, d.App, d.Channel, m.Payload, ok = l.r.opt.Keys.ParseAllTopic(m.Channel, m.Payload); !ok || !l.shard.sharded() {
			return nil
		}
	}
	switch d.Kind {
	case envelope.KindPresence:
		d.Frame = bytesOf(m.Payload)
		d.ID.Sequence = announcementID(d.App, d.Channel, m.Payload)
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
	if d.ID == l.received {
		return nil
	}
	l.received = d.ID
	return l.r.inbox.add(d)
}

// isProbe says whether a topic is that of this node's probes. A link subscribes to no other
// node's.
func (l *link) isProbe(topic string) bool {
	return strings.HasPrefix(topic, l.r.opt.Keys.ProbeTopic(""))
}

// bytesOf gives a string's bytes without copying them. They must not be
// changed; deliveries are read only, by contract.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// confirmed takes Redis's confirmation of a command for one topic.
func (l *link) confirmed(v verb, topic string) error {
	if err := l.sent.answered(v, topic); err != nil {
		return err
	}
	if !l.isProbe(topic) {
		l.shard.confirm(topic)
	} else if l.allowed(topic) {
		l.shard.health.Answered()
		l.shard.up(l)
		l.shard.health.Look() // which sends a probe
	}
	return nil
}

// pushedOut takes it that Redis ended a subscription by itself.
func (l *link) pushedOut(topic string) {
	if !l.isProbe(topic) {
		l.shard.pushedOut(topic)
		return
	}
	l.r.mu.Lock()
	if l.hears == topic {
		l.hears = ""
	}
	l.r.mu.Unlock()
	l.r.lookForMasters()
}

// refused takes an error that came from the link. An error that Redis replies to a
// command concerns only the callers that asked for its topics; any other ends the link.
func (l *link) refused(err error) error {
	if l.shard.sharded() && elsewhere(err) {
		return l.refusedForSlot(err)
	}
	var reply redis.Error
	if !errors.As(err, &reply) || redisconn.Unreachable(err) || ofRedis(err) {
		return err
	}
	c, ok := l.sent.refused()
	if !ok {
		return err
	}
	if l.isProbe(c.topics[0]) {
		return l.deny(err)
	}
	l.shard.refuse(c.topics, err)
	return nil
}

// refusedForSlot takes it that a master has not got the slot of a command, or that the
// cluster has none for it.
func (l *link) refusedForSlot(err error) error {
	l.r.lookForMasters()
	if _, topic := l.sent.next(); topic == "" || !isOfSlot(err, topic) {
		return nil // it is the answer to an UNSUBSCRIBE that the master did by itself before
	}
	c, _ := l.sent.refused()
	if !l.isProbe(c.topics[0]) {
		l.shard.refusedForSlot(c.topics)
		return nil
	}
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.shard.link != l {
		return err
	}
	return nil // the probe goes to another slot, or says the same
}

// isOfSlot says whether an answer can be about the topic: MOVED and ASK name the slot.
func isOfSlot(err error, topic string) bool {
	fields := strings.Fields(err.Error())
	if len(fields) < 3 || fields[0] != "MOVED" && fields[0] != "ASK" {
		return true
	}
	return fields[1] == strconv.Itoa(rediskeys.Slot(topic))
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
	l.shard.health.Look()
	return nil
}

// allowed takes Redis's confirmation of the probe's topic, and says whether it is
// the first.
func (l *link) allowed(topic string) (first bool) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	l.denied = nil
	l.hears = topic
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

// watch finds out whether the link still works, until it fails.
func (l *link) watch(ctx context.Context) error {
	tick := time.NewTicker(linkCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := l.probeOverdue(); err != nil {
			return err
		}
		if err := l.subscribeToProbes(ctx); err != nil {
			return err
		}
	}
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
			err = l.r.tendCounts(ctx)
		case <-l.shard.wake:
			err = l.shard.flush(ctx, l)
		}
		if err != nil {
			return err
		}
	}
}
