package broker

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// linkSilence is how long the link may bring nothing, not even the answer
	// to a ping, before it is taken for dead; linkPing is how often one is sent.
	linkSilence = 1500 * time.Millisecond
	linkPing    = 500 * time.Millisecond
	// linkRetry is the pause between attempts to connect again.
	linkRetry = 100 * time.Millisecond
	// topicsPerCommand bounds one SUBSCRIBE.
	topicsPerCommand = 500
)

// run keeps the link to Redis up until ctx ends. A lost link is made anew and
// everything wanted is subscribed again.
func (in *interests) run(ctx context.Context, box *inbox) {
	reported := false
	for ctx.Err() == nil {
		err := in.linkOnce(ctx, box)
		wasUp := in.down()
		if ctx.Err() != nil {
			break
		}
		if !errors.Is(err, errInboxFull) { // which is this node's fault
			in.health.Observe(err)
		}
		if wasUp || !reported { // once, not with each attempt
			reported = true
			in.opt.Log.Warn("the link to redis is down, subscriptions will be renewed", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(linkRetry):
		}
	}
	in.counts.giveBack()
}

func (in *interests) linkOnce(ctx context.Context, box *inbox) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pubsub := in.opt.Redis.Subscribe(ctx)
	defer func() { _ = pubsub.Close() }()
	if in.opt.Embedded {
		if err := pubsub.PSubscribe(ctx, in.opt.Keys.Everything()); err != nil {
			return err
		}
	}
	if err := pubsub.Ping(ctx); err != nil {
		return err
	}
	received := make(chan error, 1)
	up := false
	go func() {
		received <- in.receive(ctx, pubsub, box, func() {
			if !up {
				up = true
				in.up()
			}
		})
		cancel(nil)
	}()

	err := in.follow(ctx, pubsub)
	_ = pubsub.Close() // ends receive
	receiveErr := <-received
	if err == nil || errors.Is(err, context.Canceled) {
		err = receiveErr
	}
	return err
}

// receive takes what Redis sends until the link fails. It never calls Redis and
// never waits for anything else: an embedded miniredis stands still until its
// subscribers have read. answered is called at each sign that the link is up.
func (in *interests) receive(ctx context.Context, pubsub *redis.PubSub, box *inbox, answered func()) error {
	for {
		message, err := pubsub.ReceiveTimeout(ctx, linkSilence)
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *redis.Message:
			var d Delivery
			var ok bool
			if d.Kind, d.App, d.Channel, ok = in.opt.Keys.ParseTopic(m.Channel); !ok {
				continue
			}
			if d.Kind == KindPresence {
				d.Frame = bytesOf(m.Payload)
				d.sequence = announcementID(m)
			} else if err := decode(bytesOf(m.Payload), &d); err != nil {
				in.opt.Log.Warn("a message on a fleetwire channel in redis is not from fleetwire, dropped", "channel", d.Channel, "err", err)
				continue
			}
			if err := box.add(d); err != nil {
				return err
			}
		case *redis.Subscription:
			if in.opt.Embedded {
				answered()
			} else {
				in.confirm(m.Channel)
			}
		case *redis.Pong:
			if !in.opt.Embedded {
				answered()
			}
		}
	}
}

// follow tells Redis what has changed until the link fails.
func (in *interests) follow(ctx context.Context, pubsub *redis.PubSub) error {
	ping := time.NewTicker(linkPing)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ping.C:
			if err = pubsub.Ping(ctx); err == nil {
				err = in.counts.renew(ctx, in)
			}
		case <-in.wake:
			err = in.tell(ctx, pubsub)
		}
		if err != nil {
			return err
		}
	}
}

// tell sends all changes that have gathered: the subscriptions first, then the
// subscriber counts while Redis works on those.
func (in *interests) tell(ctx context.Context, pubsub *redis.PubSub) error {
	var subscribe, unsubscribe, psubscribe, punsubscribe []string
	var counted []countChange
	in.mu.Lock()
	if !in.linked {
		in.mu.Unlock()
		return nil // up will mark everything as changed
	}
	changed := in.dirty
	in.dirty = nil
	for _, i := range changed {
		i.dirty = false
		i.told, i.heard = i.subscribers, int32(len(i.waiting))
		if in.counted(i.key) && i.counted != i.told {
			counted = append(counted, countChange{i, i.told})
		}
		if wanted := i.told > 0; wanted != i.subscribed && !in.opt.Embedded {
			i.subscribed = wanted
			i.asked++
			list := &unsubscribe
			switch {
			case wanted && i.key.pattern:
				list = &psubscribe
			case wanted:
				list = &subscribe
			case i.key.pattern:
				list = &punsubscribe
			}
			*list = append(*list, i.topic)
		}
	}
	in.mu.Unlock()

	for _, c := range []struct {
		send   func(context.Context, ...string) error
		topics []string
	}{
		{pubsub.Subscribe, subscribe}, {pubsub.PSubscribe, psubscribe},
		{pubsub.Unsubscribe, unsubscribe}, {pubsub.PUnsubscribe, punsubscribe},
	} {
		for len(c.topics) > 0 {
			n := min(topicsPerCommand, len(c.topics))
			if err := c.send(ctx, c.topics[:n]...); err != nil {
				return err
			}
			c.topics = c.topics[n:]
		}
	}
	if err := in.counts.write(ctx, counted); err != nil {
		return err
	}

	var waiting []func(error)
	in.mu.Lock()
	for _, c := range counted {
		c.interest.counted = c.subscribers
	}
	for _, i := range changed {
		waiting = append(waiting, in.takeSettled(i)...)
	}
	in.mu.Unlock()
	for _, done := range waiting {
		done(nil)
	}
	return nil
}
