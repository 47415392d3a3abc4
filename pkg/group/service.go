package group

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// MaxWaits bounds the requests of one key that wait in one process.
	MaxWaits = 1000
	// lookAgain is how often a waiting request looks: leases end without a message, and
	// Redis's word may be lost.
	lookAgain = time.Second
	// pullTime bounds a pull, which makes a round trip for some buckets each.
	pullTime = 3 * time.Second
)

// Service is a Store whose pulls can wait. The requests of this process that wait share one
// connection to Redis, on which this process hears that a group has messages again. It is
// opened with the first wait, and has a subscription for each group for which this process
// has waited.
type Service struct {
	*Store
	log *slog.Logger

	mu       sync.Mutex
	closed   chan struct{} // no request waits any more
	pubsub   *redis.PubSub
	waiting  map[string]map[*wait]struct{} // by topic; a topic that is there is heard
	ofKey    map[string]int                // key id → its waits
	listener sync.WaitGroup
}

// wait is one request that waits.
type wait struct {
	topic, key string        // key "": it is no request, but this process
	woken      chan struct{} // has room for one
}

// NewService returns a Service without a connection for waits.
func NewService(opt Options, log *slog.Logger) *Service {
	return &Service{Store: NewStore(opt), log: log, closed: make(chan struct{}), waiting: map[string]map[*wait]struct{}{}, ofKey: map[string]int{}}
}

// Drain has all requests stop waiting, now and from now on.
func (s *Service) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
}

// Close is Drain, and gives the connection back.
func (s *Service) Close() {
	s.Drain()
	s.mu.Lock()
	pubsub := s.pubsub
	s.mu.Unlock()
	if pubsub != nil {
		_ = pubsub.Close()
	}
	s.listener.Wait()
}

// Wait pulls for a request of a key, and waits up to most until there is a message.
func (s *Service) Wait(ctx context.Context, p Pull, key string, most time.Duration) ([]Message, error) {
	if most <= 0 {
		return s.pullWhole(ctx, p)
	}
	// It hears before it looks, so that it misses nothing.
	one := s.begin(s.opt.Keys.GroupTopic(p.App.ID, p.Group.Name), key)
	if one == nil {
		return s.pullWhole(ctx, p)
	}
	defer s.end(one)
	timer, again := time.NewTimer(most), time.NewTicker(lookAgain)
	defer timer.Stop()
	defer again.Stop()
	for {
		got, err := s.pullWhole(ctx, p)
		if err != nil || len(got) > 0 {
			return got, err
		}
		select {
		case <-one.woken:
		case <-again.C:
		case <-timer.C:
			return nil, nil
		case <-s.closed:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pullWhole goes on with a pull if ctx ends meanwhile, so that the caller can hand on, or give
// back, the messages that it leased. Else they would wait until their leases end.
func (s *Service) pullWhole(ctx context.Context, p Pull) ([]Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullTime)
	defer cancel()
	got, err := s.Pull(ctx, p)
	if len(got) > 0 {
		err = nil // they are delivered: else they wait until their leases end
	}
	return got, err
}

// begin has a request wait; nil: it must not, as too many of the key do, or this process stops.
func (s *Service) begin(topic, key string) *wait {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return nil
	default:
	}
	if key != "" && s.ofKey[key] >= MaxWaits {
		return nil
	}
	one := &wait{topic, key, make(chan struct{}, 1)}
	s.ofKey[key]++
	s.hear(topic)[one] = struct{}{}
	return one
}

func (s *Service) end(one *wait) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting[one.topic], one)
	if s.ofKey[one.key]--; s.ofKey[one.key] == 0 {
		delete(s.ofKey, one.key)
	}
}

// hear subscribes to a topic, and returns those that wait for what is said there. It is called
// with s.mu held.
func (s *Service) hear(topic string) map[*wait]struct{} {
	if of := s.waiting[topic]; of != nil {
		return of
	}
	of := map[*wait]struct{}{}
	s.waiting[topic] = of
	if s.pubsub == nil {
		s.pubsub = s.opt.Redis.Subscribe(context.Background())
		s.listener.Go(s.listen)
	}
	pubsub := s.pubsub
	s.listener.Go(func() {
		// If this fails, go-redis subscribes when it has a connection again.
		if err := pubsub.Subscribe(context.Background(), topic); err != nil && !errors.Is(err, redis.ErrClosed) {
			s.log.Warn("redis does not tell this process yet which groups have messages: waiting requests look once a second", "err", err)
		}
	})
	return of
}

// listen wakes requests until the connection is closed.
func (s *Service) listen() {
	for message := range s.pubsub.ChannelWithSubscriptions() {
		switch m := message.(type) {
		case *redis.Message:
			s.wake(m.Channel)
		case *redis.Subscription:
			s.wake(m.Channel) // what was said before was not heard
		}
	}
}

// Hear returns a channel that gets a value when the group may have messages again, and after each
// outage of the connection on which this process hears it. end ends that. woken is nil if this
// process stops.
func (s *Service) Hear(app, group string) (woken <-chan struct{}, end func()) {
	one := s.begin(s.opt.Keys.GroupTopic(app, group), "")
	if one == nil {
		return nil, func() {}
	}
	return one.woken, func() { s.end(one) }
}

func (s *Service) wake(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for one := range s.waiting[topic] {
		select {
		case one.woken <- struct{}{}:
		default:
		}
	}
}
