package orders

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// readBlock is how long one look into an inbox waits for an order, and readLimit
	// how long it may take until the connection counts as dead.
	readBlock = time.Second
	readLimit = readBlock + 1500*time.Millisecond
	// readAtOnce bounds the orders of one look.
	readAtOnce = 100
	// readRetry is the pause after a look that failed.
	readRetry = 250 * time.Millisecond
)

// InboxOptions set an Inbox up.
type InboxOptions struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Node is the name under which the node holds connections (quota.NewConnections).
	Node string
	// Close closes the connections of a peer, and returns how many there were.
	Close func(app, peer string) int
	// Show tells of the connections of a peer, as a JSON array.
	Show func(app, peer string) []byte
	// Report tells of the node, and what the app does there, as a JSON object.
	Report func(ctx context.Context, app string) []byte
	// Watch begins, goes on with or ends what a stream watches of an app (events.Watch in JSON).
	Watch func(app string, watch []byte) []byte
	Log   *slog.Logger
}

// Inbox carries out the orders that a node is sent.
type Inbox struct {
	opt InboxOptions
	key string
	// carriedOut are orders, by their number in the stream, that Redis has not dropped
	// yet as far as is known, and the answer to each. They are not to be carried out
	// again: the peer may be back.
	carriedOut map[string]string
	failing    bool
	announced  time.Time // when it was last said that the node is there
}

// NewInbox returns an Inbox. It has to Run.
func NewInbox(opt InboxOptions) *Inbox {
	return &Inbox{opt: opt, key: opt.Keys.Inbox(opt.Node), carriedOut: map[string]string{}}
}

// Run carries orders out as they come, until ctx ends. It has a connection to Redis
// of its own, as it mostly waits, and so that it learns by itself when that is lost:
// no order depends on the link that messages come by.
func (in *Inbox) Run(ctx context.Context) {
	rdb := redisconn.Own(in.opt.Redis)
	defer func() { _ = rdb.Close() }()
	defer in.absent()
	defer context.AfterFunc(ctx, func() { _ = rdb.Close() })() // ends a look that waits
	for ctx.Err() == nil {
		in.present(ctx, rdb)
		err := in.look(ctx, rdb)
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; failed != in.failing {
			in.failing = failed
			if failed {
				in.opt.Log.Warn("redis does not hand out this node's orders about connections; they are carried out when it does", "err", err)
			} else {
				in.opt.Log.Info("redis hands out this node's orders again")
			}
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(readRetry):
			}
		}
	}
}

// present says that the node is there, if it is time to. What comes of that is left to the next time:
// on a Redis Cluster another master has the orders, and they must not wait for this one.
func (in *Inbox) present(ctx context.Context, rdb redis.UniversalClient) {
	if time.Since(in.announced) < presentEvery {
		return
	}
	in.announced = time.Now()
	ctx, cancel := context.WithTimeout(ctx, presentLimit)
	defer cancel()
	_ = announce(ctx, rdb, in.opt.Keys, in.opt.Node)
}

// absent says that the node is not there any more.
func (in *Inbox) absent() {
	ctx, cancel := context.WithTimeout(context.Background(), presentLimit)
	defer cancel()
	_ = in.opt.Redis.ZRem(ctx, in.opt.Keys.Nodes(), in.opt.Node).Err()
}

// look waits for orders, carries them out, answers them and drops them.
func (in *Inbox) look(ctx context.Context, rdb redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	// Always from the start: what is there has not been dropped yet.
	streams, err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{in.key, "0"}, Count: readAtOnce, Block: readBlock}).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	p := rdb.Pipeline()
	for _, order := range streams[0].Messages {
		answer, known := in.carriedOut[order.ID]
		if !known {
			answer = in.carryOut(ctx, order)
			in.carriedOut[order.ID] = answer
		}
		answers := text(order, "answers")
		p.RPush(ctx, answers, in.opt.Node+" "+answer)
		p.Expire(ctx, answers, answersKept)
		p.XDel(ctx, in.key, order.ID)
	}
	if _, err := p.Exec(ctx); err != nil {
		return err
	}
	clear(in.carriedOut)
	return nil
}

// carryOut does what an order asks, and returns the answer.
func (in *Inbox) carryOut(ctx context.Context, order redis.XMessage) string {
	if app := text(order, shows.appField); app != "" {
		return string(in.opt.Show(app, text(order, shows.field)))
	}
	if app := text(order, asksReport.appField); app != "" {
		return string(in.opt.Report(ctx, app))
	}
	if app := text(order, watches.appField); app != "" {
		return string(in.opt.Watch(app, []byte(text(order, watches.field))))
	}
	return strconv.Itoa(in.opt.Close(text(order, closes.appField), text(order, closes.field)))
}

func text(order redis.XMessage, field string) string {
	s, _ := order.Values[field].(string)
	return s
}
