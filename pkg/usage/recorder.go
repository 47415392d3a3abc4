package usage

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/quota"
	"fleetwire/pkg/rediskeys"
)

const (
	// FlushInterval is how often a running Recorder flushes.
	FlushInterval = 5 * time.Second

	// finalFlush bounds the flush with which Run ends.
	finalFlush = 2 * time.Second

	// MaxNames is how many channels, and how many peers, of an app have figures of
	// their own in a period. All others share one sum.
	MaxNames = 10_000

	// A flush begins early at so many new names. Beyond MaxNames of a ranking, and
	// beyond maxUnflushed names not yet in Redis, further ones are counted together.
	// A name is at most 256 bytes, so that bounds a recorder to some 40 MB.
	earlyFlush   = 10_000
	maxUnflushed = 100_000
)

// RecorderOptions set a Recorder up.
type RecorderOptions struct {
	Redis redis.UniversalClient // required
	Keys  rediskeys.Namespace
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: slog.Default()
	// Tick says when Run flushes; nil: every FlushInterval.
	Tick <-chan time.Time
}

// Recorder adds up what channels and peers cost, and flushes it to Redis. It is
// safe for concurrent use.
type Recorder struct {
	opt RecorderOptions
	id  string        // of this recorder alone: batch numbers begin anew with each
	due chan struct{} // there is enough for an early flush

	mu        sync.Mutex
	start     time.Time // of the period that messages are counted in,
	end       time.Time // its end,
	period    string    // and its name
	current   map[bucket]*tallies
	fresh     int // names in current
	unflushed int // names in current and in pending

	flushing chan struct{} // held by who flushes; guards the rest
	number   int64         // of the last batch
	pending  []*batch      // not yet confirmed by Redis, in the order of their numbers
	failing  bool          // the last flush of Run failed
}

// bucket is what is flushed to keys of its own.
type bucket struct{ app, period string }

type tallies struct{ channels, peers names }

// names are tallies by name; all further names are counted in other.
type names struct {
	of    map[string]*tally
	other tally
}

type tally struct{ published, bytes int64 }

// NewRecorder returns a Recorder. Nothing is flushed before Run or Flush is called.
func NewRecorder(opt RecorderOptions) *Recorder {
	if opt.Redis == nil {
		panic("usage.NewRecorder: RecorderOptions.Redis is required")
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	return &Recorder{
		opt:      opt,
		id:       rand.Text(),
		due:      make(chan struct{}, 1),
		current:  map[bucket]*tallies{},
		flushing: make(chan struct{}, 1),
	}
}

// Published counts one accepted message of the peer on the channel, with so many
// bytes of data. A message that goes to a peer instead of a channel is counted
// with the channel "", for its sender alone. It never waits for Redis, and keeps
// neither of the strings.
func (r *Recorder) Published(appID, channel, peer string, bytes int) {
	now := r.opt.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !now.Before(r.end) || now.Before(r.start) {
		r.start, r.end = quota.Period(now)
		r.period = periodName(r.start)
	}
	t := r.current[bucket{appID, r.period}]
	if t == nil {
		t = &tallies{names{of: map[string]*tally{}}, names{of: map[string]*tally{}}}
		r.current[bucket{strings.Clone(appID), r.period}] = t
	}
	r.count(&t.channels, channel, bytes)
	r.count(&t.peers, peer, bytes)
}

// count is called with r.mu held.
func (r *Recorder) count(names *names, name string, bytes int) {
	if name == "" {
		return
	}
	t := names.of[name]
	if t == nil && (len(names.of) >= MaxNames || r.unflushed >= maxUnflushed) {
		t = &names.other
	} else if t == nil {
		t = new(tally)
		// A clone, because name may be a small part of a whole message.
		names.of[strings.Clone(name)] = t
		r.unflushed++
		r.fresh++
		if r.fresh == earlyFlush {
			select {
			case r.due <- struct{}{}:
			default:
			}
		}
	}
	t.published++
	t.bytes += int64(bytes)
}

// Run flushes every FlushInterval, and earlier when many names have come
// together, until ctx ends; then it flushes a last time, within 2 s.
func (r *Recorder) Run(ctx context.Context) {
	tick := r.opt.Tick
	if tick == nil {
		ticker := time.NewTicker(FlushInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalFlush)
			defer cancel()
			if err := r.Flush(last); err != nil {
				r.opt.Log.Error("the last usage figures per channel and peer did not reach redis and are lost", "err", err)
			}
			return
		case <-tick:
		case <-r.due:
		}
		r.report(ctx, r.Flush(ctx))
	}
}

// report logs when flushes begin to fail and when they work again.
func (r *Recorder) report(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // the last flush says how it ended
	}
	if failed := err != nil; failed != r.failing {
		r.failing = failed
		if failed {
			r.opt.Log.Error("usage figures per channel and peer wait for redis", "err", err)
		} else {
			r.opt.Log.Info("usage figures per channel and peer are in redis again")
		}
	}
}
