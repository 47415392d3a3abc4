package redisconn

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/batch"
)

const (
	// probeUp and probeDown are how often Redis is probed, while it works and
	// while it does not. The second bounds how long a node still refuses work
	// after Redis came back.
	probeUp   = 500 * time.Millisecond
	probeDown = 200 * time.Millisecond
	// probeTimeout bounds one probe. With probeUp it bounds how long a Redis that
	// hangs goes unnoticed.
	probeTimeout = 1250 * time.Millisecond
	// probeGap is the least time between probes that refusals of single commands
	// bring forward.
	probeGap = 100 * time.Millisecond
)

// Health knows whether Redis works for this process, so that callers are refused at once
// while it does not, instead of each waiting for a timeout. That of a Redis Cluster has one
// for each master, and itself knows only whether there are masters.
type Health struct {
	log     *slog.Logger
	down    atomic.Bool
	wake    batch.Signal // to probe at once
	useless chan error

	masters *masters    // of a cluster
	master  string      // the address of the one that this is about; "": it is no master's
	silent  atomic.Bool // while down: it is no answer that says so

	mu     sync.Mutex
	cause  error // while down: what the last probe or call failed with
	probed time.Time
}

// NewHealth starts out believing that Redis works. Run keeps it true.
func NewHealth(log *slog.Logger) *Health {
	return &Health{log: log, wake: batch.NewSignal(), useless: make(chan error, 1)}
}

// Useless gets an error when Redis has become one that this process's client can never work
// with: a cluster, which was one server when the process began. The process must end.
func (h *Health) Useless() <-chan error { return h.useless }

// Up says whether Redis worked last time: of a cluster, at least one master.
func (h *Health) Up() bool {
	if h.masters != nil {
		if up, known := h.masters.anyUp(); known {
			return up
		}
	}
	return !h.down.Load()
}

// Trouble is why Redis, or a part of a cluster, does not work, in a sentence that quotes
// Redis; "" while all works.
func (h *Health) Trouble() string {
	if h.masters != nil {
		if why := h.masters.troubles(); why != "" {
			return why
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.cause == nil:
		return ""
	case isForm(h.cause):
		return "redis is not what the URL was taken for: " + h.cause.Error()
	case refuses(h.cause):
		return "redis refuses: " + h.cause.Error()
	default:
		return "redis does not answer: " + h.cause.Error()
	}
}

// Observe takes the outcome of any call to Redis. A call that Redis did not
// answer (a refused connection, a timeout) means that Redis is away until a
// probe has succeeded. A reply that is an error may concern one caller's odd
// request alone, or some of a master's slots, a connection that broke need not be the last
// one, and on a cluster any error may be one master's (see ObserveAt); it only brings the
// next probe forward.
func (h *Health) Observe(err error) {
	switch {
	case err == nil || errors.Is(err, context.Canceled) || errors.Is(err, redis.Nil) || isAway(err):
	case h.masters != nil:
		h.masters.each(func(master *Health) { master.lookSoon() })
	case Unreachable(err) && !Broke(err) && (h.master == "" || !refuses(err)):
		if h.fail(err) {
			h.Look()
		}
	default:
		h.lookSoon()
	}
}

// Look has Redis probed at once, all masters of a cluster.
func (h *Health) Look() {
	h.wake.Set()
	if h.masters != nil {
		h.masters.each((*Health).Look)
	}
}

// lookSoon is Look, unless that has just been done.
func (h *Health) lookSoon() {
	h.mu.Lock()
	recent := time.Since(h.probed) < probeGap
	h.mu.Unlock()
	if !recent {
		h.Look()
	}
}

// fail notes why Redis does not work, and says whether that is news.
func (h *Health) fail(err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cause = h.of(err)
	h.silent.Store(!refuses(err))
	if h.down.Swap(true) {
		return false
	}
	what, until := "publishes are refused and new connections turned back", "it answers"
	if h.master != "" {
		what = "what needs this master is refused, all else is served"
	}
	begins := "redis is away: "
	if refuses(err) {
		begins, until = "redis refuses: ", "it works again"
	}
	h.log.Error(begins+what+" until "+until, "err", h.cause)
	return true
}

func (h *Health) works() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cause = nil
	h.silent.Store(false)
	if !h.down.Swap(false) {
		return
	}
	if h.master != "" {
		h.log.Info("redis is back", "master", h.master)
	} else {
		h.log.Info("redis is back")
	}
}

// words is what Redis itself said in err; "" if it said nothing.
func words(err error) string {
	var reply redis.Error
	var refused *Refused
	switch {
	case errors.As(err, &reply):
		return reply.Error()
	case errors.As(err, &refused):
		return refused.Words
	default:
		return ""
	}
}

// refuses says whether err is Redis's own words.
func refuses(err error) bool { return words(err) != "" }

// Unreachable says whether err means that Redis did not answer, in contrast to
// an answer that is an error, or a caller that gave up. LOADING, READONLY and
// the like are answers, but from a Redis that takes no writes at all.
func Unreachable(err error) bool {
	if said := words(err); said != "" {
		for _, prefix := range []string{"LOADING ", "READONLY ", "MASTERDOWN ", "CLUSTERDOWN "} {
			if strings.HasPrefix(said, prefix) {
				return true
			}
		}
		return false
	}
	return !errors.Is(err, context.Canceled)
}

// Run probes Redis until ctx ends. probe does what the process needs of Redis;
// only a probe that succeeds ends an outage.
func (h *Health) Run(ctx context.Context, probe func(context.Context) error) {
	for {
		interval := probeUp
		if !h.Up() {
			interval = probeDown
		}
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-h.wake:
			timer.Stop()
		}
		probing, cancel := context.WithTimeout(ctx, probeTimeout)
		err := PastBroken(probing, func() error { return probe(probing) })
		cancel()
		h.mu.Lock()
		h.probed = time.Now()
		h.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			h.fail(err)
			if BecameCluster(err) {
				select {
				case h.useless <- err:
				default:
				}
			}
		default:
			h.works()
		}
	}
}
