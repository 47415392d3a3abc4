package sink

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"fleetwire/pkg/apps"
)

// makeTime bounds how long secrets are read and a target is made.
const makeTime = 10 * time.Second

// holder has the target of a sink, with the secrets as they are now. It reads them again from time
// to time, and soon after the target has failed: a new target takes the place of the former, which
// is closed when nothing is delivered to it any more.
type holder struct {
	spec  *apps.Sink
	maker Maker
	pace  pace
	log   *slog.Logger

	making   sync.Mutex // held while secrets are read
	resolved *apps.Sink
	read     time.Time
	said     string // what the log has of secrets that could not be read

	mu      sync.Mutex
	doubted bool
	failed  error // why no target could be made when one was asked for; nil: there is one, or none was
	current *shared
}

// shared is a target that several workers deliver to.
type shared struct {
	Target
	users  int
	former bool // another has taken its place
}

func newHolder(spec *apps.Sink, m Maker, p pace, log *slog.Logger) *holder {
	return &holder{spec: spec, maker: m, pace: p, log: log}
}

// get returns the target, which put must give back. The error is what is wrong with the sink.
func (h *holder) get(ctx context.Context) (*shared, error) {
	if !h.making.TryLock() {
		// Another worker reads the secrets, which may take as long as makeTime.
		if current := h.use(true); current != nil {
			return current, nil
		}
		h.making.Lock()
	}
	defer h.making.Unlock()
	age := time.Since(h.read)
	if err := h.lacks(); err != nil && age < h.pace.look {
		return nil, err
	}
	if h.use(false) == nil || age >= h.pace.refresh || h.isDoubted() && age >= h.pace.doubt {
		ctx, cancel := context.WithTimeout(ctx, makeTime)
		defer cancel()
		err := h.renew(ctx)
		h.read = time.Now()
		h.say(err)
		if err != nil && h.use(false) == nil {
			h.fail(err)
			return nil, err
		}
		h.fail(nil)
	}
	return h.use(true), nil
}

// mend tries again to make a target that could not be made. The error says why it still cannot.
func (h *holder) mend(ctx context.Context) error {
	if h.lacks() == nil {
		return nil
	}
	target, err := h.get(ctx)
	if err == nil {
		h.put(target)
	}
	return err
}

func (h *holder) lacks() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

func (h *holder) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = err
}

// say logs once that no target could be made. It is called with making held.
func (h *holder) say(err error) {
	said := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		said = err.Error()
	}
	if said != "" && said != h.said {
		if h.use(false) == nil {
			h.log.Warn("this node cannot make the target of a sink; nodes that can make it deliver the messages", "err", err)
		} else {
			h.log.Warn("the secrets of a sink could not be read again; the last good ones stay in force", "err", err)
		}
	}
	h.said = said
}

// renew makes another target if the secrets are others. It is called with making held.
func (h *holder) renew(ctx context.Context) error {
	h.mu.Lock()
	h.doubted = false
	h.mu.Unlock()
	resolved, err := guard(h.log, func() (*apps.Sink, error) { return h.maker.Resolve(ctx, h.spec) })
	if err != nil {
		return err
	}
	if h.use(false) != nil && reflect.DeepEqual(resolved, h.resolved) {
		return nil
	}
	made, err := guard(h.log, func() (Target, error) { return h.maker.New(ctx, resolved) })
	if err != nil {
		return err
	}
	h.resolved = resolved
	h.replace(&shared{Target: made})
	return nil
}

// use returns the current target, for a user or not; nil: there is none.
func (h *holder) use(uses bool) *shared {
	h.mu.Lock()
	defer h.mu.Unlock()
	if uses && h.current != nil {
		h.current.users++
	}
	return h.current
}

func (h *holder) isDoubted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.doubted
}

// doubt has the secrets read again soon: the target has failed, and they may be the reason.
func (h *holder) doubt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doubted = true
}

// put gives a target back.
func (h *holder) put(s *shared) {
	h.mu.Lock()
	s.users--
	closes := s.former && s.users == 0
	h.mu.Unlock()
	if closes {
		h.end(s)
	}
}

// replace has another target be the current one; nil: none is.
func (h *holder) replace(next *shared) {
	h.mu.Lock()
	former := h.current
	h.current = next
	closes := false
	if former != nil {
		former.former = true
		closes = former.users == 0
	}
	h.mu.Unlock()
	if closes {
		h.end(former)
	}
}

// close closes the target. Nothing is delivered to it any more.
func (h *holder) close() { h.replace(nil) }

func (h *holder) end(s *shared) {
	if _, err := guard(h.log, func() (struct{}, error) { return struct{}{}, s.Close() }); err != nil {
		h.log.Warn("the target of a sink was not closed in order", "err", err)
	}
}

// errFault is a panic as an error.
var errFault = errors.New("the target failed on its own fault; the log of the node has the details")

// guard has a panic be an error: a node does not end because a target, or its library, fails.
func guard[T any](log *slog.Logger, f func() (T, error)) (result T, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("the target of a sink failed on its own fault", "panic", p, "stack", string(debug.Stack()))
			err = errFault
		}
	}()
	return f()
}
