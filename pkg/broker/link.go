package broker

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

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

// run keeps the link to Redis up until ctx ends. A lost link is made anew and
// everything wanted is subscribed again.
func (in *interests) run(ctx context.Context, box *inbox) {
	var pauses backoff
	for ctx.Err() == nil {
		l := &link{in: in, box: box}
		err := l.run(ctx)
		in.down()
		if ctx.Err() != nil {
			break
		}
		in.lost(err)
		in.health.Look() // if Redis is gone, commands need not find out one by one
		lived := time.Duration(0)
		if !l.proven.IsZero() {
			lived = time.Since(l.proven)
		}
		if pause := pauses.next(lived); pause > 0 {
			in.pause(ctx, pause)
		}
	}
	in.counts.giveBack()
}

// backoff is the pauses between attempts to connect; it holds the next.
type backoff time.Duration

// next is the pause behind a link that worked for as long as lived.
func (b *backoff) next(lived time.Duration) time.Duration {
	pause := time.Duration(*b)
	if lived > linkRetry {
		pause = 0
	}
	*b = backoff(min(max(2*pause, linkRetry), linkRetryMax))
	return pause
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// link is one connection that subscribes.
type link struct {
	in     *interests
	box    *inbox
	pubsub *redis.PubSub
	sent   commands
	fail   context.CancelCauseFunc // ends run with an error

	// Under in.mu.
	proven time.Time // when the first probe was heard
	probe  awaitedProbe
	denied error // Redis lets this link subscribe no more
}

// run connects, and does what is wanted until the link fails.
func (l *link) run(ctx context.Context) error {
	ctx, l.fail = context.WithCancelCause(redisconn.DialOnce(ctx))
	defer l.fail(nil)
	l.pubsub = l.in.opt.Redis.Subscribe(ctx)
	defer func() { _ = l.pubsub.Close() }()
	if err := l.send(ctx, subscribe, l.in.probeTopic); err != nil {
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
	var d Delivery
	var ok bool
	if d.Kind, d.App, d.Channel, ok = l.in.opt.Keys.ParseTopic(m.Channel); !ok {
		if m.Channel == l.in.probeTopic {
			l.heard(m.Payload)
		}
		return nil
	}
	if d.Kind == KindPresence {
		d.Frame = bytesOf(m.Payload)
		d.sequence = announcementID(m)
	} else if err := decode(bytesOf(m.Payload), &d); err != nil {
		l.in.opt.Log.Warn("a message on a fleetwire channel in redis is not from fleetwire, dropped", "channel", d.Channel, "err", err)
		return nil
	}
	if d.process != l.in.process {
		d.Publisher = 0
	}
	return l.box.add(d)
}

// confirmed takes Redis's confirmation of a command for one topic.
func (l *link) confirmed(v verb, topic string) error {
	if err := l.sent.answered(v, topic); err != nil {
		return err
	}
	switch topic {
	case l.in.probeTopic:
		if l.allowed() {
			l.in.up(l)
			l.in.health.Look() // which sends a probe
		}
	default:
		l.in.confirm(topic)
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
	if c.topics[0] == l.in.probeTopic {
		return l.deny(err)
	}
	l.in.refuse(c.topics, err)
	return nil
}

// deny takes Redis's refusal to subscribe to the probe's topic. A link that is up
// goes on delivering what it is subscribed to; the next probe tells the node.
func (l *link) deny(err error) error {
	l.in.mu.Lock()
	up := l.in.link == l
	l.denied = err
	l.in.mu.Unlock()
	if !up {
		return err
	}
	l.in.health.Look()
	return nil
}

// allowed takes Redis's confirmation of the probe's topic, and says whether it is
// the first.
func (l *link) allowed() (first bool) {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	l.denied = nil
	return l.in.link != l
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

// follow tells Redis what has changed until the link fails.
func (l *link) follow(ctx context.Context) error {
	tick := time.NewTicker(linkCheck)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			l.in.retryRefused()
			if err = l.overdue(); err == nil {
				err = l.send(ctx, subscribe, l.in.probeTopic)
			}
			if err == nil {
				l.in.counts.rewrite(l.in)
				err = l.in.counts.renew(ctx, l.in)
			}
		case <-l.in.wake:
			err = l.in.tell(ctx, l)
		}
		if err != nil {
			return err
		}
	}
}
