package deadline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/batch"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// bucketsAtOnce bounds the buckets of one poll, and idsAtOnce the ids of a bucket
	// that are handed over at once.
	bucketsAtOnce = 128
	idsAtOnce     = 100
	// passes bounds how often a round looks into a bucket before it lets others go
	// on.
	passes = 50
	// handlerTime bounds one call of a handler.
	handlerTime = 2500 * time.Millisecond
)

// pace is how long things take.
type pace struct {
	step   time.Duration // between two polls, of all nodes together
	most   time.Duration // that a node waits for its poll
	lease  time.Duration // for which a bucket is one node's
	retry  time.Duration // until an id comes again that a handler left where it was
	flight time.Duration // for which a script may be under way after its Touch
	again  time.Duration // until the next look into a bucket with scripts under way
	build  time.Duration // that a node has for building a lost index
}

var defaultPace = pace{
	step: 400 * time.Millisecond, most: 5 * time.Second, lease: 3 * time.Second,
	retry: time.Second, flight: 5 * time.Second, again: 500 * time.Millisecond, build: time.Minute,
}

// Due is what is due in one bucket.
type Due struct {
	App    string
	Bucket rediskeys.Bucket
	IDs    []string // the longest due first
}

// Handler does what is to be done for deadlines that are over, and has their owner's
// script clear them. Two nodes may have the same at once. An error says why some were
// left; they come again.
type Handler func(ctx context.Context, due []Due) error

// Options set a Worker up.
type Options struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Handlers are called for their kinds, each by one goroutine at a time.
	Handlers map[Kind]Handler
	// Apps are the ids of the apps in force, for an index that was lost.
	Apps func() []string
	Log  *slog.Logger
}

// Worker has the handlers of this node called with its share of what is due.
type Worker struct {
	opt  Options
	pace pace

	wake   batch.Signal // there may be more to do at once
	rounds sync.WaitGroup

	doubts bool // owned by Run: on a cluster, the master of the index did not answer

	mu      sync.Mutex
	busy    map[Kind]bool // its handler runs
	failing map[string]bool
}

// New returns a Worker. It has to Run.
func New(opt Options) *Worker {
	return &Worker{opt: opt, pace: defaultPace, wake: batch.NewSignal(), busy: map[Kind]bool{}, failing: map[string]bool{}}
}

// Run takes turns with the workers of all nodes until ctx ends, and then waits for the
// handlers that run.
func (w *Worker) Run(ctx context.Context) {
	defer w.rounds.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.wake:
		}
		wait, err := w.poll(ctx)
		if ctx.Err() != nil {
			return
		}
		if w.tell("redis does not say which deadlines are over; they wait until it does", err); err != nil {
			wait = w.pace.step
		}
		timer.Reset(wait)
	}
}

// poll takes what is due, starts rounds with it, and returns how long it is until
// this node's next poll.
func (w *Worker) poll(ctx context.Context) (wait time.Duration, err error) {
	if w.doubts {
		// Deadlines were set meanwhile (Touch): somebody has to look for those.
		if err := w.opt.Redis.HDel(ctx, w.opt.Keys.DueTurns(), "whole").Err(); err != nil {
			return 0, err
		}
		w.doubts = false
	}
	call := w.look(w.idle())
	if err := redisconn.Exec(ctx, w.opt.Redis, []*redisconn.Call{call}); err != nil {
		w.doubts = redisconn.IsCluster(w.opt.Redis) && redisconn.Unreachable(err)
		return 0, err
	}
	reply, err := call.Reply.Slice()
	if err != nil || len(reply) < 2 {
		return 0, fmt.Errorf("look.lua returned %v: %w", reply, err)
	}
	ms, _ := reply[0].(int64)
	if reply[1] == int64(1) {
		w.rounds.Go(func() { w.tell("the index of deadlines cannot be built again; somebody will try again", w.build(ctx)) })
	}
	taken := map[Kind][]*bucket{}
	for _, m := range reply[2:] {
		b, err := w.parse(m)
		if err != nil {
			w.opt.Log.Error("the index of deadlines in redis has an entry that cannot be read, which is dropped", "err", err)
		}
		taken[b.kind] = append(taken[b.kind], b)
	}
	full := len(reply)-2 == bucketsAtOnce
	for kind, buckets := range taken {
		w.start(kind, buckets, full)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// look asks for this node's share of what is due.
func (w *Worker) look(kinds []Kind) *redisconn.Call {
	call := &redisconn.Call{
		Script: lookScript,
		Keys:   []string{w.opt.Keys.DueIndex(), w.opt.Keys.DueTurns()},
		Args:   []any{w.pace.step.Milliseconds(), w.pace.most.Milliseconds(), w.pace.lease.Milliseconds(), bucketsAtOnce, w.pace.build.Milliseconds()},
	}
	for _, kind := range kinds {
		call.Args = append(call.Args, string(kind))
	}
	return call
}

// idle are the kinds whose handlers do not run.
func (w *Worker) idle() []Kind {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(w.opt.Handlers)), func(k Kind) bool { return w.busy[k] })
}

// start starts a round. After a poll that came back full the next one follows at once.
func (w *Worker) start(kind Kind, buckets []*bucket, full bool) {
	w.mu.Lock()
	w.busy[kind] = true
	w.mu.Unlock()
	w.rounds.Go(func() {
		err := w.round(kind, buckets)
		w.tell("deadlines are over, and "+string(kind)+" could not be seen to; they will be", err)
		w.mu.Lock()
		w.busy[kind] = false
		w.mu.Unlock()
		if full && err == nil {
			w.wake.Set()
		}
	})
}

// bucket is a bucket of which this node has the lease.
type bucket struct {
	away   bool   // its master does not answer: the lease ends by itself
	member string // of the index
	kind   Kind
	app    string
	bucket rediskeys.Bucket

	handed map[string]bool // what the handler has had
	left   int             // how many of those are still due
	wait   time.Duration   // until the next deadline; -1: there is none
}

const nothing = -1

// parse reads an entry of the index. One that is no such thing comes back, with an
// error, as a bucket that has nothing.
func (w *Worker) parse(entry any) (*bucket, error) {
	b := &bucket{handed: map[string]bool{}, wait: nothing}
	b.member, _ = entry.(string)
	kind, name, _ := strings.Cut(b.member, " ")
	b.kind = Kind(kind)
	var err error
	b.bucket, b.app, err = w.opt.Keys.ParseBucket(name)
	return b, err
}

// round hands over everything that is due in the buckets, and ends their lease.
func (w *Worker) round(kind Kind, buckets []*bucket) error {
	// A node that stops finishes what it has begun.
	ctx := context.Background()
	var failed error
	open := slices.DeleteFunc(slices.Clone(buckets), func(b *bucket) bool { return b.app == "" })
	for pass := 0; len(open) > 0; pass++ {
		if pass == passes {
			for _, b := range open {
				b.wait = 0
			}
			break
		}
		var due []Due
		var err error
		if open, due, err = w.peek(ctx, open); err != nil {
			failed = errors.Join(failed, err)
			buckets = slices.DeleteFunc(buckets, func(b *bucket) bool { return b.away })
			if len(buckets) == 0 {
				return failed
			}
		}
		if len(due) == 0 {
			continue
		}
		handling, cancel := context.WithTimeout(ctx, handlerTime)
		failed = errors.Join(failed, w.opt.Handlers[kind](handling, due))
		cancel()
	}
	return errors.Join(failed, w.settle(ctx, buckets, "0"))
}

// peek returns what is due in the buckets and was not handed over yet, and the buckets
// that may have more. On a cluster an error may concern some of the buckets alone.
func (w *Worker) peek(ctx context.Context, open []*bucket) (more []*bucket, due []Due, err error) {
	calls := make([]*redisconn.Call, len(open))
	for i, b := range open {
		calls[i] = &redisconn.Call{Script: peekScript, Keys: []string{b.bucket.Due(string(b.kind))}, Args: []any{b.left, idsAtOnce}}
	}
	_ = redisconn.Exec(ctx, w.opt.Redis, calls) // each has its error
	for i, b := range open {
		reply, failed := calls[i].Reply.Slice()
		if failed != nil || len(reply) == 0 {
			b.away = true
			err = cmp.Or(err, fmt.Errorf("peek.lua returned %v: %w", reply, failed))
			continue
		}
		ids := b.take(reply, w.pace.retry)
		if len(ids) > 0 {
			due = append(due, Due{b.app, b.bucket, ids})
		}
		if len(ids) > 0 || len(reply)-1 == idsAtOnce {
			more = append(more, b)
		}
	}
	return more, due, err
}

// take takes what peek.lua says, and returns the ids that are new.
func (b *bucket) take(reply []any, retry time.Duration) (ids []string) {
	b.wait = nothing
	if ms, _ := reply[0].(int64); ms >= 0 {
		b.wait = time.Duration(ms) * time.Millisecond
	}
	for _, id := range reply[1:] {
		id, _ := id.(string)
		if b.handed[id] {
			b.left++
			continue
		}
		b.handed[id] = true
		ids = append(ids, id)
	}
	if b.left > 0 && (b.wait == nothing || b.wait > retry) {
		b.wait = retry
	}
	return ids
}

// settle says when to look into the buckets again. building is for settle.lua.
func (w *Worker) settle(ctx context.Context, buckets []*bucket, building string) error {
	call := &redisconn.Call{
		Script: settleScript,
		Keys:   []string{w.opt.Keys.DueIndex(), w.opt.Keys.DueTouched(), w.opt.Keys.DueTurns()},
		Args:   []any{w.pace.flight.Milliseconds(), w.pace.again.Milliseconds(), building},
	}
	for _, b := range buckets {
		wait := int64(nothing)
		if b.wait != nothing {
			wait = b.wait.Milliseconds()
		}
		call.Args = append(call.Args, b.member, wait)
	}
	return redisconn.Exec(ctx, w.opt.Redis, []*redisconn.Call{call})
}

// tell logs that something begins to fail, once.
func (w *Worker) tell(what string, err error) {
	w.mu.Lock()
	was := w.failing[what]
	w.failing[what] = err != nil
	w.mu.Unlock()
	if err != nil && !was && !errors.Is(err, context.Canceled) {
		w.opt.Log.Warn(what, "err", err)
	}
}
