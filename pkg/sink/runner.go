package sink

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/group"
	"fleetwire/pkg/rediskeys"
)

// Maker makes targets. Its errors say what is wrong, and show no secret.
type Maker interface {
	// Resolve is the sink with each Secret replaced by its value, as it is now.
	Resolve(ctx context.Context, s *apps.Sink) (*apps.Sink, error)
	// New makes the target of a sink that Resolve has returned.
	New(ctx context.Context, resolved *apps.Sink) (Target, error)
}

// Observer counts what one sink does on this node. It is safe for concurrent use.
type Observer interface {
	Delivered(messages int)
	Refused(messages int)
	GivenBack(messages int)
	// Failed counts a batch that the target did not take.
	Failed()
	// Took is told how long the target took for messages, whatever became of them.
	Took(d time.Duration)
	// Is reports how the sink does.
	Is(c Condition)
	// Holds reports how many bytes the group takes.
	Holds(bytes int64)
	// Gone is called when this node has the sink no more.
	Gone()
}

// Options set a Runner up.
type Options struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	Apps  *apps.Store
	// Node is part of the names under which the workers are consumers of groups.
	Node  string
	Maker Maker
	// Dropped is as in group.Options.
	Dropped func(why group.Drop, messages int)
	// Observe returns the Observer of a sink. nil: nothing is observed.
	Observe func(app, group string) Observer
	Log     *slog.Logger

	pace pace // of tests; zero: that of nodes
}

// pace has the times that a node waits.
type pace struct {
	look    time.Duration // between two looks, if nothing happens, for leases that have ended; and between two tries to make a target
	deliver time.Duration // for a target
	claim   time.Duration // until another node tries a sink that this one was to try
	refresh time.Duration // between two readings of secrets
	doubt   time.Duration // the same, after the target has failed
	nack    time.Duration // until a message that was refused is delivered for the second time
	away    time.Duration // after Redis did not answer
	unable  time.Duration // for another node to deliver what this one cannot, until the sink is failing
}

func nodePace() pace {
	return pace{
		look: 5 * time.Second, deliver: 15 * time.Second, claim: 30 * time.Second, refresh: 25 * time.Second, doubt: time.Second,
		nack: 5 * time.Second, away: time.Second, unable: 30 * time.Second,
	}
}

// Runner delivers the messages of all groups that have a sink, on one node. All nodes share the
// work. Without a sink in the document it has no goroutine but the one that waits for another
// document.
type Runner struct {
	opt        Options
	groups     *group.Service
	states     *States
	taking     context.Context // ends when the Runner drains
	takeNoMore context.CancelFunc
	cut        context.Context // ends when what is under way must end
	cutOff     context.CancelFunc

	mu       sync.Mutex
	sinks    map[place]*sinking
	consumer int            // the last number of one
	running  sync.WaitGroup // sinks
}

// place is a group of an app.
type place struct{ app, group string }

// NewRunner returns a Runner, which Run starts and Close ends.
func NewRunner(opt Options) *Runner {
	if opt.pace == (pace{}) {
		opt.pace = nodePace()
	}
	if opt.Observe == nil {
		opt.Observe = func(string, string) Observer { return ignoring{} }
	}
	r := &Runner{
		opt:    opt,
		groups: group.NewService(group.Options{Redis: opt.Redis, Keys: opt.Keys, Dropped: opt.Dropped}, opt.Log),
		states: NewStates(opt.Redis, opt.Keys), sinks: map[place]*sinking{},
	}
	r.taking, r.takeNoMore = context.WithCancel(context.Background())
	r.cut, r.cutOff = context.WithCancel(context.Background())
	return r
}

// Run goes by the document in force, until ctx ends or the Runner drains.
func (r *Runner) Run(ctx context.Context) {
	for {
		replaced := r.opt.Apps.Replaced()
		r.follow(r.opt.Apps.Current())
		select {
		case <-ctx.Done():
			return
		case <-r.taking.Done():
			return
		case <-replaced:
		}
	}
}

// follow starts and ends sinks, as a document has them.
func (r *Runner) follow(d *apps.Directory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taking.Err() != nil {
		return
	}
	wanted := map[place]inForce{}
	for _, app := range d.Apps() {
		for _, g := range app.Groups {
			if g.Sink != nil && !app.Suspended {
				wanted[place{app.ID, g.Name}] = inForce{app, g}
			}
		}
	}
	for at, s := range r.sinks {
		if now, ok := wanted[at]; !ok || !now.group.Sink.Equal(s.spec) {
			s.stop()
			delete(r.sinks, at)
		}
	}
	for at, now := range wanted {
		if s := r.sinks[at]; s != nil {
			s.now.Store(&now)
			continue
		}
		s := newSinking(r, at, now)
		r.sinks[at] = s
		r.running.Go(s.run)
	}
}

// nextConsumer is a number that no worker of this Runner has had.
func (r *Runner) nextConsumer() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.consumer++
	return r.consumer
}

// Drain has all sinks take no more messages. Deliveries that are under way go on. It does not block.
func (r *Runner) Drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.takeNoMore()
	for _, s := range r.sinks {
		s.stop()
	}
	clear(r.sinks)
}

// Close drains, and waits until the deliveries that are under way have ended. When ctx ends, they
// are cut short, and their messages given back to the groups.
func (r *Runner) Close(ctx context.Context) {
	r.Drain()
	done := context.AfterFunc(ctx, r.cutOff)
	r.running.Wait()
	done()
	r.cutOff()
	r.groups.Close()
}

// ignoring is the Observer of a Runner without one.
type ignoring struct{}

func (ignoring) Delivered(int)      {}
func (ignoring) Refused(int)        {}
func (ignoring) GivenBack(int)      {}
func (ignoring) Failed()            {}
func (ignoring) Took(time.Duration) {}
func (ignoring) Is(Condition)       {}
func (ignoring) Holds(int64)        {}
func (ignoring) Gone()              {}
