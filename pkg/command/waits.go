package command

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

const (
	// MaxWaits bounds the requests of one key that wait in one process.
	MaxWaits = 1000
	// lookAgain is how often a command is read for whose end a request waits, in case
	// Redis's word was lost, or nobody has seen to a deadline.
	lookAgain = time.Second
)

// Waits are the requests of this process that wait for commands to end. They share one
// connection to Redis, on which this process hears of ends. It is opened with the first
// wait, and has a subscription for each bucket in which this process has waited.
type Waits struct {
	store   *Store
	redis   redis.UniversalClient
	log     *slog.Logger
	process string
	look    func(context.Context, *Wait) (*Command, error) // reads a wait's command

	mu       sync.Mutex
	closed   chan struct{} // no request waits any more
	pubsub   *redis.PubSub
	waiting  map[string]map[string]map[*Wait]struct{} // by topic, and id in the bucket; a topic that is there is heard
	ofKey    map[string]int                           // key id → its waits
	listener sync.WaitGroup
}

// NewWaits returns Waits without a connection. The store tells them itself of the ends that its
// answers bring about.
func NewWaits(store *Store, rdb redis.UniversalClient, log *slog.Logger) *Waits {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	w := &Waits{
		store: store, redis: rdb, log: log, process: hex.EncodeToString(id[:]), closed: make(chan struct{}),
		waiting: map[string]map[string]map[*Wait]struct{}{}, ofKey: map[string]int{},
	}
	w.look = func(ctx context.Context, o *Wait) (*Command, error) {
		return store.Read(ctx, o.app, o.place.id(), w.process)
	}
	store.waits.Store(w)
	return w
}

// Process is what scripts know this process by.
func (w *Waits) Process() string { return w.process }

// Drain has all requests stop waiting, now and from now on.
func (w *Waits) Drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closed:
	default:
		close(w.closed)
	}
}

// Close is Drain, and gives the connection back.
func (w *Waits) Close() {
	w.Drain()
	w.mu.Lock()
	pubsub := w.pubsub
	w.mu.Unlock()
	if pubsub != nil {
		_ = pubsub.Close()
	}
	w.listener.Wait()
}

// Wait is one request that waits for the end of one command.
type Wait struct {
	waits *Waits
	app   string
	key   string
	topic string
	place place
	data  []byte        // of the command; nil: it is not known yet
	woken chan struct{} // has room for one
	said  string        // of the end, by Redis; guarded by waits.mu
}

// Begin has a request of a key wait for the end of an app's command. It does so before
// the command is created, or read, so that no end is missed. nil: it must not wait, as
// too many of the key do, or this process stops.
func (w *Waits) Begin(app, key, id string) *Wait {
	p, ok := placeOf(w.store.opt.Keys, app, id)
	if !ok {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closed:
		return nil
	default:
	}
	if w.ofKey[key] >= MaxWaits {
		return nil
	}
	one := &Wait{waits: w, app: app, key: key, topic: w.store.opt.Keys.WakeTopic(p.bucket, w.process), place: p, woken: make(chan struct{}, 1)}
	w.ofKey[key]++
	of := w.hear(one.topic)
	if of[p.local] == nil {
		of[p.local] = map[*Wait]struct{}{}
	}
	of[p.local][one] = struct{}{}
	return one
}

// hear subscribes to a topic, and returns those that wait for what is said there. It is
// called with w.mu held.
func (w *Waits) hear(topic string) map[string]map[*Wait]struct{} {
	of := w.waiting[topic]
	if of != nil {
		return of
	}
	of = map[string]map[*Wait]struct{}{}
	w.waiting[topic] = of
	if w.pubsub == nil {
		w.pubsub = w.redis.Subscribe(context.Background())
		w.listener.Go(w.listen)
	}
	pubsub := w.pubsub
	w.listener.Go(func() {
		// If this fails, go-redis subscribes when it has a connection again.
		if err := pubsub.Subscribe(context.Background(), topic); err != nil && !errors.Is(err, redis.ErrClosed) {
			w.log.Warn("redis does not tell this process yet which commands end: waiting requests look once a second", "err", err)
		}
	})
	return of
}

// listen wakes requests until the connection is closed.
func (w *Waits) listen() {
	for message := range w.pubsub.ChannelWithSubscriptions() {
		switch m := message.(type) {
		case *redis.Message:
			w.wake(m.Channel, m.Payload)
		case *redis.Subscription:
			w.wakeAll(m.Channel) // what was said before was not heard
		}
	}
}

// wakeAbout wakes requests that wait for a command of the bucket which has ended.
func (w *Waits) wakeAbout(b rediskeys.Bucket, said any) {
	if text, ok := said.(string); ok && w != nil {
		w.wake(w.store.opt.Keys.WakeTopic(b, w.process), text)
	}
}

// wake wakes requests with what state.lua says of the end of a command.
func (w *Waits) wake(topic, said string) {
	local, said := said[:min(secretBytes, len(said))], said[min(secretBytes, len(said)):]
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.waiting[topic][local] {
		one.said = said
		one.wake()
	}
}

func (w *Waits) wakeAll(topic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.waiting[topic] {
		for one := range all {
			one.wake()
		}
	}
}

func (o *Wait) wake() {
	select {
	case o.woken <- struct{}{}:
	default:
	}
}

// End gives up the place of a request that has waited.
func (o *Wait) End() {
	w := o.waits
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.waiting[o.topic]
	if _, there := of[o.place.local][o]; !there {
		return
	}
	if delete(of[o.place.local], o); len(of[o.place.local]) == 0 {
		delete(of, o.place.local)
	}
	if w.ofKey[o.key]--; w.ofKey[o.key] == 0 {
		delete(w.ofKey, o.key)
	}
}

// Until waits until the command has ended, most has passed, the process stops or ctx
// ends (the caller is gone), and returns the command as it is then. was is what the caller knows of it, or nil.
// The error is ErrNotFound, or says why Redis does not tell.
func (o *Wait) Until(ctx context.Context, most time.Duration, was *Command) (*Command, error) {
	timer, again := time.NewTimer(most), time.NewTicker(lookAgain)
	defer timer.Stop()
	defer again.Stop()
	for over := false; was == nil || !was.Ended(); {
		if over {
			return o.read(ctx)
		}
		if was != nil {
			o.data = was.Data
		}
		select {
		case <-o.woken:
			if c := o.ended(); c != nil {
				return c, nil
			}
		case <-again.C:
		case <-timer.C:
			over = true
			continue
		case <-o.waits.closed:
			over = true
			continue
		case <-ctx.Done():
			over = true
			continue
		}
		if c, err := o.read(ctx); err == nil {
			was = c
		} else if errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return was, nil
}

func (o *Wait) read(ctx context.Context) (*Command, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tripTime)
	defer cancel()
	return o.waits.look(ctx, o)
}

// ended is the command with the end that Redis has told this process; nil: it has to be read.
func (o *Wait) ended() *Command {
	o.waits.mu.Lock()
	said := o.said
	o.waits.mu.Unlock()
	if said == "" || o.data == nil {
		return nil
	}
	c, err := parseEnd(o.place, said)
	if err != nil {
		o.waits.log.Warn("redis tells the end of a command in another form than this process knows", "command", o.place.id(), "err", err)
		return nil
	}
	c.Data = o.data
	return c
}
