package sink

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/group"
)

// maxBatchBytes is about how large a batch is at most: channels, senders, metadata and data.
const maxBatchBytes = 256 << 10

// pullTime bounds a pull, and what is told to Redis.
const pullTime = 3 * time.Second

// sinking is a sink on this node: workers that each pull a batch, deliver it, and acknowledge it.
// Each is a consumer of the group, so what Redis holds of consumers holds of them: one at a time
// gets the messages of a channel.
//
// A worker that finds nothing waits for its turn to wait for messages: one of them waits, and asks
// Redis now and then, however many there are. It hands its turn on when it has a batch.
type sinking struct {
	runner  *Runner
	at      place
	spec    *apps.Sink
	digest  string
	now     atomic.Pointer[inForce]
	holder  *holder
	observe Observer
	log     *slog.Logger

	pulling  context.Context // ends when no more is pulled
	stop     context.CancelFunc
	waitSlot chan struct{} // has room for one: who may wait
	woken    <-chan struct{}

	said sayings
}

// inForce is what the document in force says.
type inForce struct {
	app   *apps.App
	group *apps.Group
}

// sayings are what was said last of a sink, so that it is not said again and again.
type sayings struct {
	mu        sync.Mutex
	begun     bool
	delivered time.Time // to Redis
	refused   time.Time // likewise
	log       string    // why Redis does not answer
	unable    time.Time // to Redis: why this node cannot make the target
	waits     time.Time // since when messages wait that this node cannot deliver; zero: none do
}

func newSinking(r *Runner, at place, now inForce) *sinking {
	s := &sinking{
		runner: r, at: at, spec: now.group.Sink, digest: now.group.Sink.Digest(),
		observe: r.opt.Observe(at.app, at.group), waitSlot: make(chan struct{}, 1),
		log: r.opt.Log.With("app", at.app, "group", at.group, "type", now.group.Sink.Type),
	}
	s.holder = newHolder(s.spec, r.opt.Maker, r.opt.pace, s.log)
	s.now.Store(&now)
	s.pulling, s.stop = context.WithCancel(context.Background())
	return s
}

// run delivers until the sink is stopped and what is under way has ended.
func (s *sinking) run() {
	woken, stopHearing := s.runner.groups.Hear(s.at.app, s.at.group)
	s.woken = woken
	var workers sync.WaitGroup
	for range s.spec.Concurrency {
		workers.Go(s.work)
	}
	workers.Wait()
	stopHearing()
	s.holder.close()
	s.observe.Gone()
	// Others may wait for the channels of which this node has had messages.
	ctx, cancel := context.WithTimeout(context.Background(), pullTime)
	defer cancel()
	now := s.now.Load()
	s.runner.groups.Wake(ctx, now.app, now.group)
}

// work is a worker.
func (s *sinking) work() {
	w := &worker{who: s.consumer()}
	w.consumer = w.who
	for b := s.next(w); b != nil; b = s.next(w) {
		s.deliver(b)
		s.holder.put(b.target)
	}
}

// consumer is a name that no worker of any node has had.
func (s *sinking) consumer() string {
	return fmt.Sprintf("sink/%s/%d", s.runner.opt.Node, s.runner.nextConsumer())
}

// worker has two names: by one, other workers know that it tries the sink, and by the other one it
// is a consumer of the group. When it does not know what it has leased, or has not been able to say
// what became of it, it takes another: so no worker, not even this one, gets
// newer messages of those channels before the leases end.
type worker struct{ who, consumer string }

// batch is what a worker has pulled.
type batch struct {
	worker *worker
	about
	now      inForce
	messages []group.Message
	target   *shared
	try      bool      // the sink is failing, and this is the try
	due      time.Time // when the leases end
}

// next waits until there are messages. nil: the sink is stopped.
func (s *sinking) next(w *worker) *batch {
	if b, _ := s.pull(w); b != nil || s.pulling.Err() != nil {
		return b
	}
	select {
	case s.waitSlot <- struct{}{}:
	case <-s.pulling.Done():
		return nil
	}
	defer func() { <-s.waitSlot }()
	for s.pulling.Err() == nil {
		b, wait := s.pull(w)
		if b != nil {
			return b
		}
		s.await(wait)
	}
	return nil
}

// await waits until something happens, or for so long.
func (s *sinking) await(most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-s.woken:
	case <-timer.C:
	case <-s.pulling.Done():
	}
}

// pull pulls a batch, if the sink takes messages. nil: there is none, for so long at most.
func (s *sinking) pull(w *worker) (*batch, time.Duration) {
	if s.pulling.Err() != nil {
		return nil, 0
	}
	pace := s.runner.opt.pace
	b := &batch{worker: w, about: about{s.at.app, s.at.group, s.digest, w.who}, now: *s.now.Load()}
	if err := s.holder.mend(s.pulling); err != nil { // so it claims no try that another node can make
		s.tellUnable(b, err)
		return nil, pace.look
	}
	l, err := s.look(b.about)
	if err != nil {
		return nil, s.away(err)
	}
	s.observe.Is(l.condition)
	s.observe.Holds(l.bytes)
	switch {
	case l.condition != OK && !l.try && l.wait > 0:
		return nil, min(l.wait, pace.look)
	case l.condition != OK && !l.try, l.bytes <= 0:
		return nil, pace.look
	}
	b.try = l.try
	if b.target, err = s.holder.get(s.pulling); err != nil {
		s.tellUnable(b, err)
		return nil, pace.look
	}
	s.said.waitsFor(true)
	// A pull that has begun is finished: else its messages would be leased, and no worker had them.
	ctx, cancel := context.WithTimeout(context.Background(), pullTime)
	defer cancel()
	b.due = time.Now().Add(b.now.group.AckTimeout)
	b.messages, err = s.runner.groups.Pull(ctx, group.Pull{App: b.now.app, Group: b.now.group, Consumer: w.consumer, Max: s.spec.MaxMessages, MaxBytes: maxBatchBytes})
	if err != nil {
		w.consumer = s.consumer()
	}
	switch {
	case len(b.messages) > 0 && s.pulling.Err() == nil:
		return b, 0
	case len(b.messages) > 0:
		s.settle(b, verdict{back: b.messages})
	}
	s.holder.put(b.target)
	if err != nil {
		return nil, s.away(err)
	}
	s.said.clear()
	return nil, pace.look
}

// look asks Redis whether the sink takes messages.
func (s *sinking) look(a about) (look, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pullTime)
	defer cancel()
	s.said.mu.Lock()
	begun := s.said.begun
	s.said.mu.Unlock()
	if !begun {
		if err := s.runner.states.begin(ctx, a); err != nil {
			return look{}, err
		}
		s.said.mu.Lock()
		s.said.begun = true
		s.said.mu.Unlock()
	}
	return s.runner.states.look(ctx, a, s.runner.opt.pace.claim)
}

// away is for how long to wait for Redis, which did not answer.
func (s *sinking) away(err error) time.Duration {
	s.said.mu.Lock()
	if said := err.Error(); s.said.log != said {
		s.said.log = said
		s.log.Warn("redis does not answer the workers of a sink; its messages wait", "err", err)
	}
	s.said.mu.Unlock()
	pause := s.runner.opt.pace.away
	return pause/2 + rand.N(pause)
}

// waitsFor notes whether messages wait that this node cannot deliver, and returns for how long.
func (t *sayings) waitsFor(none bool) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case none:
		t.waits = time.Time{}
		return 0
	case t.waits.IsZero():
		t.waits = time.Now()
	}
	return time.Since(t.waits)
}

// clear has it said again when Redis is away again.
func (t *sayings) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = ""
}
