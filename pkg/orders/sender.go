// Package orders carries orders to close a peer's connections, or to tell of them
// (protocol §5, /v1/peers/{peer}), or of themselves, to the nodes, and their answers back.
//
// Pub/sub alone cannot do this: a node whose link is being made anew hears nothing,
// and PUBLISH does not tell that it heard nothing. Each node therefore has an inbox in
// Redis, a stream, in which an order waits until the node has carried it out. Redis
// also knows which nodes hold connections of the app (quota.Holders): each of them
// has to answer.
package orders

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// answerPatience is how long Disconnect waits for the next node's answer;
	// Redis takes whole seconds. patience bounds all of it.
	answerPatience = time.Second
	patience       = 5 * time.Second
	// answersKept is when answers that were not fetched are dropped.
	answersKept = 10 * time.Second
	// maxWaiting bounds the orders that wait for one node; beyond it the oldest are
	// dropped. Their senders have been told that the node did not answer.
	maxWaiting = 10_000
	// silenceWaits is for how long after its lease has run out the answer of a node is
	// still waited for. It counts as dead if none comes: Redis may only have stood still,
	// so that all leases have run out. If it lives, cut off from Redis, the order waits
	// for it (quota.HoldersKept).
	silenceWaits = time.Minute
)

// ErrUnanswered: not every node that may hold connections of the peer has said that
// it closed them.
var ErrUnanswered = errors.New("not all nodes answered")

// Sender sends orders. It is safe for concurrent use.
type Sender struct {
	rdb  redis.UniversalClient
	keys rediskeys.Namespace
}

// NewSender returns a Sender.
func NewSender(rdb redis.UniversalClient, keys rediskeys.Namespace) *Sender {
	return &Sender{rdb, keys}
}

// Disconnect has every node close the connections that the peer has there, and
// waits for the nodes to say how many those were, until none has answered for a
// second. Nodes whose lease has run out count as dead, if they do not answer by then.
// With ErrUnanswered, closed is what is known so far; nodes that have not
// answered carry the order out when they reach Redis again.
func (s *Sender) Disconnect(ctx context.Context, app, peer string) (closed int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	holders, err := quota.Holders(ctx, s.rdb, s.keys, app)
	if err != nil {
		return 0, err
	}
	err = s.ask(ctx, holders, order{closes, app, peer}, func(answer string) error {
		n, err := strconv.ParseInt(answer, 10, 64)
		if err != nil {
			return fmt.Errorf("a node's answer is not a number: %w", err)
		}
		closed += n
		return nil
	})
	return closed, err
}

// Show has nodes tell of the connections that the peer has there (InboxOptions.Show),
// and returns what they say: a JSON array each. With ErrUnanswered it is what those
// say that answered within a second.
func (s *Sender) Show(ctx context.Context, app, peer string, nodes []string) (shown []json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	holders := make([]quota.Holder, len(nodes))
	for i, node := range nodes {
		holders[i].Node = node
	}
	err = s.ask(ctx, holders, order{shows, app, peer}, func(answer string) error {
		shown = append(shown, json.RawMessage(answer))
		return nil
	})
	return shown, err
}

// order is what nodes are to do. what is the peer, if it is about one.
type order struct {
	kind
	app, what string
}

// ask sends an order to nodes, and takes their answers, until none has come for a
// second.
func (s *Sender) ask(ctx context.Context, holders []quota.Holder, o order, take func(answer string) error) error {
	if len(holders) == 0 {
		return nil
	}
	answers := s.keys.Bucket(o.app, o.what).Answers(rand.Text())
	if err := s.send(ctx, holders, o, answers); err != nil {
		return err
	}
	awaited, alive := map[string]bool{}, 0 // node → its lease has not run out; how many of these
	for _, h := range holders {
		if h.Silent < silenceWaits {
			awaited[h.Node] = h.Silent == 0
		}
		if h.Silent == 0 {
			alive++
		}
	}
	nodes := len(awaited)
	for len(awaited) > 0 {
		answer, err := s.rdb.BLPop(ctx, answerPatience, answers).Result()
		if errors.Is(err, redis.Nil) && alive == 0 {
			break
		}
		if err != nil { // redis.Nil: none in time
			return fmt.Errorf("%w, %d of %d have: %w", ErrUnanswered, nodes-len(awaited), nodes, err)
		}
		node, said, _ := strings.Cut(answer[1], " ")
		lives, ok := awaited[node]
		if !ok {
			continue
		}
		if err := take(said); err != nil {
			return err
		}
		delete(awaited, node)
		if lives {
			alive--
		}
	}
	return nil
}

// kind is what an order asks for: the names of its fields. A node of an older version
// finds none that it knows in one that it does not know of, and closes nothing.
type kind struct{ appField, field string }

var (
	closes     = kind{"app", "peer"}
	shows      = kind{"show-app", "show-peer"}
	asksReport = kind{"report-app", "report"}
	watches    = kind{"watch-app", "watch"}
)

// send puts the order into the inboxes. The error proves that nothing was done only
// if it proves that for each of them.
func (s *Sender) send(ctx context.Context, holders []quota.Holder, o order, answers string) error {
	p := s.rdb.Pipeline()
	for _, h := range holders {
		inbox := s.keys.Inbox(h.Node)
		p.XAdd(ctx, &redis.XAddArgs{Stream: inbox, MaxLen: maxWaiting, Approx: true, Values: []any{o.appField, o.app, o.field, o.what, "answers", answers}})
		p.Expire(ctx, inbox, quota.HoldersKept)
	}
	cmds, err := p.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, cmd := range cmds {
		if cmd.Name() == "xadd" && !redisconn.Undone(cmd.Err()) {
			return fmt.Errorf("an order was not taken by every inbox: %v", err) // not %w: redisconn.Undone would take it for all
		}
	}
	return err
}
