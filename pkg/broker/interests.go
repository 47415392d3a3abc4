package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/pkg/redisconn"
)

// interests is what this node wants to receive, and how far Redis has been told.
// Callers change what is wanted; one goroutine (link.go) makes Redis follow,
// many changes at a time.
type interests struct {
	opt     Options
	process uint64
	health  *redisconn.Health

	mu       sync.Mutex
	wanted   map[string]*interest // by Redis channel or glob
	dirty    []*interest
	link     *link // once it is ready, until it is lost
	trouble  error // why the last link was lost, until the next is proven
	unlinked int   // interests that Redis has yet to confirm since the link came up
	missed   bool  // call restored when all of them are, and the link is proven
	refusals map[string]*interest
	globs    globs
	counts   counts
	identity string // under which counts are kept; "": as Options say
	wake     chan struct{}
	restored func() // or nil

	refusalReported time.Time
	patience        time.Duration                        // probePatience, or what a test sets
	pause           func(context.Context, time.Duration) // sleep, or a test's

	probeTopic string
	probes     atomic.Uint64 // sent so far
}

// interestKey names a channel or a peer, or (pattern) a Redis glob over channels.
type interestKey struct {
	kind      Kind
	pattern   bool
	app, name string
}

type interest struct {
	key   interestKey
	topic string
	// subscribers is how many connections are subscribed by name, or how many
	// patterns share the glob; at 0 nothing is wanted any more.
	subscribers int32
	// told is what subscribers was when Redis was last told; counted, what it has
	// taken of that (where it is kept: interests.counts).
	told, counted int32
	// asked and confirmed count SUBSCRIBE and UNSUBSCRIBE commands and their
	// confirmations since the link came up: while they differ, one is under way.
	asked, confirmed int32
	subscribed       bool  // the last command asked for was a SUBSCRIBE
	dirty            bool  // in interests.dirty
	starting         bool  // counted in interests.unlinked
	heard            int32 // how many of waiting asked before Redis was last told
	waiting          []func(error)
	alone            bool     // to be asked for in a command of its own: it may be the one that Redis refuses
	refusal          *refusal // Redis refused it, and has not been asked since
}

func newInterests(opt Options) *interests {
	in := &interests{
		opt:        opt,
		health:     opt.Health,
		wanted:     map[string]*interest{},
		refusals:   map[string]*interest{},
		globs:      newGlobs(),
		wake:       make(chan struct{}, 1),
		probeTopic: opt.Keys.ProbeTopic(opt.Node),
		patience:   probePatience,
		pause:      sleep,
	}
	in.counts.init(opt)
	return in
}

func (in *interests) set(key interestKey, n int, done func(error)) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.change(key, n, done)
}

// setPattern counts one pattern more or one less that asks for a glob.
func (in *interests) setPattern(kind Kind, app, asked string, wanted bool, done func(error)) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	of := globApp{kind, app}
	if !wanted {
		glob, ok := in.globs.remove(of, asked)
		if !ok {
			return nil
		}
		key := interestKey{kind: kind, app: app, name: glob, pattern: true}
		return in.change(key, int(in.wanted[in.topicOf(key)].subscribers)-1, done)
	}
	glob := in.globs.choose(of, asked)
	key := interestKey{kind: kind, app: app, name: glob, pattern: true}
	n := 0
	if i := in.wanted[in.topicOf(key)]; i != nil {
		n = int(i.subscribers)
	}
	if err := in.change(key, n+1, done); err != nil {
		return err
	}
	in.globs.add(of, asked, glob)
	return nil
}

// change is called with in.mu held.
func (in *interests) change(key interestKey, n int, done func(error)) error {
	if done != nil && !in.proven() {
		return ErrDown
	}
	topic := in.topicOf(key)
	i := in.wanted[topic]
	if i != nil && i.refusal != nil && done != nil {
		if time.Since(i.refusal.at) < refusalKept {
			return i.refusal.err
		}
		i.refusal, i.alone = nil, true
		delete(in.refusals, topic)
	}
	if i == nil {
		if n == 0 && done == nil {
			return nil
		}
		i = &interest{key: key, topic: topic}
		in.wanted[topic] = i
	}
	i.subscribers = int32(n)
	in.markDirty(i)
	if done != nil {
		i.waiting = append(i.waiting, done)
	}
	in.signal()
	return nil
}

func (in *interests) topicOf(key interestKey) string {
	if key.pattern {
		return in.opt.Keys.Glob(key.kind, key.app, key.name)
	}
	return in.opt.Keys.Topic(key.kind, key.app, key.name)
}

// counted says whether Redis keeps the number of connections behind the interest,
// not only that there is one: of channels, for protocol §5's subscribers.
func (key interestKey) counted() bool { return key.kind == KindMessages && !key.pattern }

func (in *interests) markDirty(i *interest) {
	if !i.dirty {
		i.dirty = true
		in.dirty = append(in.dirty, i)
	}
}

func (in *interests) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// proven says whether the link is up and delivers. It is called with in.mu held.
func (in *interests) proven() bool { return in.link != nil && !in.link.proven.IsZero() }

func (in *interests) live() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.proven() && in.unlinked == 0
}

// isSettled says whether Redis does what it was last told of i, or refuses it, and
// knows the count.
func (in *interests) isSettled(i *interest) bool {
	if i.key.counted() && i.counted != i.told {
		return false
	}
	return i.asked == i.confirmed && (i.subscribed == (i.told > 0) || i.refusal != nil)
}

// settled is a call that waited, and its answer.
type settled struct {
	done func(error)
	err  error
}

func tellAll(all []settled) {
	for _, s := range all {
		s.done(s.err)
	}
}

// takeSettled appends who waited for what Redis was last told of i, if that is
// settled. Later callers wait for the next answer, lest a channel that many
// join one after the other keeps the first waiting. It forgets i if nothing is
// wanted of it any more.
func (in *interests) takeSettled(to []settled, i *interest) []settled {
	if !in.isSettled(i) {
		return to
	}
	var err error
	if i.refusal != nil && i.told > 0 {
		err = i.refusal.err
	}
	for _, done := range i.waiting[:i.heard] {
		to = append(to, settled{done, err})
	}
	i.waiting = append(make([]func(error), 0, len(i.waiting)-int(i.heard)), i.waiting[i.heard:]...)
	i.heard = 0
	if i.starting {
		i.starting = false
		in.unlinked--
		to = in.takeRestored(to)
	}
	in.forgetUnwanted(i)
	return to
}

// takeRestored appends restored, when everything comes in again.
func (in *interests) takeRestored(to []settled) []settled {
	if !in.missed || in.unlinked > 0 || !in.proven() {
		return to
	}
	in.missed = false
	if in.restored == nil {
		return to
	}
	return append(to, settled{func(error) { in.restored() }, nil})
}

func (in *interests) forgetUnwanted(i *interest) {
	if i.subscribers == 0 && !i.dirty && i.refusal == nil && in.wanted[i.topic] == i {
		delete(in.wanted, i.topic)
	}
}

// confirm takes Redis's confirmation of a SUBSCRIBE or UNSUBSCRIBE.
func (in *interests) confirm(topic string) {
	in.mu.Lock()
	var told []settled
	if i := in.wanted[topic]; i != nil && i.confirmed < i.asked {
		i.confirmed++
		if i.subscribed && i.confirmed == i.asked {
			i.alone = false
		}
		told = in.takeSettled(told, i)
	}
	in.mu.Unlock()
	tellAll(told)
}

// down forgets what Redis was told, and refuses the calls that wait for it.
func (in *interests) down() {
	in.mu.Lock()
	in.link = nil
	in.unlinked = 0
	in.counts.forget()
	clear(in.refusals)
	var waiting []func(error)
	for topic, i := range in.wanted {
		waiting = append(waiting, i.waiting...)
		i.waiting, i.heard = nil, 0
		i.asked, i.confirmed, i.subscribed, i.told, i.counted, i.starting = 0, 0, false, 0, 0, false
		i.alone, i.refusal = false, nil
		if i.subscribers == 0 && !i.dirty {
			delete(in.wanted, topic)
		}
	}
	in.mu.Unlock()
	for _, done := range waiting {
		done(ErrDown)
	}
}

// lost reports, once for each outage, that the link was lost.
func (in *interests) lost(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.trouble == nil {
		in.opt.Log.Warn("the link to redis is down, subscriptions will be renewed", "err", err)
	}
	in.trouble = err
}

// up marks everything that is wanted as yet to be told.
func (in *interests) up(l *link) {
	in.mu.Lock()
	in.link = l
	in.missed = len(in.wanted) > 0
	for _, i := range in.wanted {
		if !i.starting {
			i.starting = true
			in.unlinked++
		}
		in.markDirty(i)
	}
	in.mu.Unlock()
	in.signal()
}
