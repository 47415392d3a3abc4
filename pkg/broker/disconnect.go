package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	// answerPatience is how long Disconnect waits for the next node's answer;
	// Redis takes whole seconds. disconnectPatience bounds all of it.
	answerPatience     = time.Second
	disconnectPatience = 5 * time.Second
	// answersKept is when answers that nobody fetched are dropped.
	answersKept = 10 * time.Second
)

// ErrUnanswered: not every node that holds connections of the peer has said
// that it closed them.
var ErrUnanswered = errors.New("not all nodes answered")

// Disconnect has every node close the connections that the peer has there, and
// waits for the nodes to say how many those were, until none has answered for a
// second. With ErrUnanswered, closed is what is known so far.
func (b *Broker) Disconnect(ctx context.Context, app, peer string) (closed int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, disconnectPatience)
	defer cancel()
	defer func() { b.opt.Health.Observe(err) }()
	answers := b.opt.Keys.Bucket(app, peer).Answers(rand.Text())
	order := encodeOrder(b.process, b.sequence.Add(1), answers)
	nodes, err := b.opt.Redis.Publish(ctx, b.opt.Keys.Topic(KindPeer, app, peer), order).Result()
	if err != nil {
		return 0, err
	}
	for i := range nodes {
		answer, err := b.opt.Redis.BLPop(ctx, answerPatience, answers).Result()
		if err != nil { // redis.Nil: none in time
			return closed, fmt.Errorf("%w, %d of %d have: %w", ErrUnanswered, i, nodes, err)
		}
		n, err := strconv.ParseInt(answer[1], 10, 64)
		if err != nil {
			return closed, fmt.Errorf("a node's answer is not a number: %w", err)
		}
		closed += n
	}
	return closed, nil
}

// Disconnected answers an order to close a peer's connections with how many
// were closed. It does not wait for Redis, and must be called by deliver.
func (b *Broker) Disconnected(order *Delivery, closed int) {
	answers := order.AnswerTo
	b.answering.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), answerPatience)
		defer cancel()
		p := b.opt.Redis.Pipeline()
		p.RPush(ctx, answers, closed)
		p.Expire(ctx, answers, answersKept)
		if err := exec(ctx, p); err != nil {
			b.opt.Log.Warn("redis did not take the answer to a disconnect", "peer", order.Channel, "closed", closed, "err", err)
		}
	})
}
