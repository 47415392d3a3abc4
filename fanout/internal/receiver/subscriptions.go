package receiver

import (
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/rediskeys"
)

// subscriptionKey names a channel or a peer, or (pattern) a Redis glob over channels, or
// (all) by its tag a bucket of which all channels are wanted.
type subscriptionKey struct {
	kind         envelope.Kind
	pattern, all bool
	app, name    string
}

// counted says whether Redis keeps the number of connections behind the
// subscription, not only that there is one: of channels, for protocol §5's
// subscribers.
func (key subscriptionKey) counted() bool {
	return key.kind == envelope.KindMessages && !key.pattern && !key.all
}

// written says whether Redis keeps anything of the subscription.
func (key subscriptionKey) written() bool { return key.counted() || key.all }

// bucketOf is the bucket of what a key names, but for globs.
func (r *Receiver) bucketOf(key subscriptionKey) rediskeys.Bucket {
	if key.all {
		b, _ := r.opt.Keys.BucketOf(key.app, key.name)
		return b
	}
	return r.opt.Keys.Bucket(key.app, key.name)
}

// subscription is a topic that this node wants, or wanted, and how far Redis has
// followed. Receiver.mu guards it.
type subscription struct {
	key   subscriptionKey
	topic string
	// subscribers is how many connections are subscribed by name, or how many
	// patterns share the glob; at 0 nothing is wanted any more.
	subscribers int32
	// sent is what subscribers was when the changes were last sent; counted, what
	// Redis has taken of that (where it is kept: counts).
	sent, counted int32
	// asked and confirmed count SUBSCRIBE and UNSUBSCRIBE commands and their
	// confirmations since the link came up: while they differ, one is under way.
	asked, confirmed int32
	subscribed       bool // the last command asked for was a SUBSCRIBE
	changed          bool // in shard.changed
	starting         bool // counted in shard.unconfirmed
	waiting          []func(error)
	covered          int32    // how many of waiting came before the changes were last sent
	alone            bool     // to be asked for in a command of its own: it may be the one that Redis refuses
	refusal          *refusal // Redis refused it, and has not been asked since
}

func (r *Receiver) set(key subscriptionKey, n int, done func(error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.change(key, n, done)
}

// setPattern counts one pattern more or one less that asks for a glob.
func (r *Receiver) setPattern(kind envelope.Kind, app, asked string, wanted bool, done func(error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := globApp{kind, app}
	if r.cluster != nil {
		return r.cluster.wildcards.set(of, asked, wanted, done)
	}
	if !wanted {
		glob, ok := r.globs.remove(of, asked)
		if !ok {
			return nil
		}
		key := subscriptionKey{kind: kind, app: app, name: glob, pattern: true}
		return r.change(key, r.wantedBy(key)-1, done)
	}
	glob := r.globs.choose(of, asked)
	key := subscriptionKey{kind: kind, app: app, name: glob, pattern: true}
	if err := r.change(key, r.wantedBy(key)+1, done); err != nil {
		return err
	}
	r.globs.add(of, asked, glob)
	return nil
}

// wantedBy is called with r.mu held.
func (r *Receiver) wantedBy(key subscriptionKey) int {
	topic := r.topicOf(key)
	if s := r.shardOf(topic).wanted[topic]; s != nil {
		return int(s.subscribers)
	}
	return 0
}

// change is called with r.mu held.
func (r *Receiver) change(key subscriptionKey, n int, done func(error)) error {
	topic := r.topicOf(key)
	return r.shardOf(topic).change(key, topic, n, done)
}

func (r *Receiver) topicOf(key subscriptionKey) string {
	if key.pattern {
		return r.opt.Keys.Glob(key.kind, key.app, key.name)
	}
	if key.all {
		return r.opt.Keys.AllTopic(r.bucketOf(key), key.kind)
	}
	return r.opt.Keys.Topic(key.kind, key.app, key.name)
}

// change is called with r.mu held.
func (sh *shard) change(key subscriptionKey, topic string, n int, done func(error)) error {
	if done != nil {
		if err := sh.refuses(topic); err != nil {
			return err
		}
	}
	s := sh.wanted[topic]
	if s != nil && s.refusal != nil && done != nil {
		s.refusal, s.alone = nil, true
		delete(sh.refusals, topic)
	}
	if s == nil {
		if n == 0 && done == nil {
			return nil
		}
		s = &subscription{key: key, topic: topic}
		sh.wanted[topic] = s
	}
	s.subscribers = int32(n)
	sh.markChanged(s)
	if done != nil {
		s.waiting = append(s.waiting, done)
	}
	sh.wake.Set()
	return nil
}

// refuses says why nothing can be asked for the topic now.
func (sh *shard) refuses(topic string) error {
	if !sh.proven() {
		return ErrDown
	}
	if s := sh.wanted[topic]; s != nil && s.refusal != nil && time.Since(s.refusal.at) < refusalKept {
		return s.refusal.err
	}
	return nil
}

func (sh *shard) markChanged(s *subscription) {
	if !s.changed {
		s.changed = true
		sh.changed = append(sh.changed, s)
	}
}

// settled says whether Redis does what it was last sent, or refuses it, and knows
// the count.
func (s *subscription) settled() bool {
	if s.key.written() && s.counted != s.sent && s.refusal == nil {
		return false
	}
	return s.asked == s.confirmed && (s.subscribed == (s.sent > 0) || s.refusal != nil)
}

// completion is a call that waited, and its outcome.
type completion struct {
	done func(error)
	err  error
}

func completeAll(all []completion) {
	for _, c := range all {
		c.done(c.err)
	}
}

// takeCompleted appends the calls that waited for what Redis was last sent of s, if
// that is settled. Later calls wait for the next time, lest a channel that many
// join one after the other keeps the first waiting. It forgets s if nothing is
// wanted of it any more.
func (sh *shard) takeCompleted(to []completion, s *subscription) []completion {
	if !s.settled() {
		return to
	}
	var err error
	if s.refusal != nil && s.sent > 0 {
		err = s.refusal.err
	}
	for _, done := range s.waiting[:s.covered] {
		to = append(to, completion{done, err})
	}
	s.waiting = append(make([]func(error), 0, len(s.waiting)-int(s.covered)), s.waiting[s.covered:]...)
	s.covered = 0
	if s.starting {
		s.starting = false
		sh.unconfirmed--
		sh.recovered = true
		to = sh.takeRestored(to)
	}
	sh.forgetUnwanted(s)
	return to
}

// takeRestored appends restored, when everything comes in again.
func (sh *shard) takeRestored(to []completion) []completion {
	if !sh.recovered || sh.unconfirmed > 0 || !sh.proven() {
		return to
	}
	sh.recovered = false
	if sh.r.restored == nil {
		return to
	}
	return append(to, completion{func(error) { sh.r.restored() }, nil})
}

func (sh *shard) forgetUnwanted(s *subscription) {
	if s.subscribers == 0 && !s.changed && s.refusal == nil && sh.wanted[s.topic] == s {
		delete(sh.wanted, s.topic)
	}
}

// confirm takes Redis's confirmation of a SUBSCRIBE or UNSUBSCRIBE.
func (sh *shard) confirm(topic string) {
	sh.r.mu.Lock()
	var completed []completion
	if s := sh.wanted[topic]; s != nil && s.confirmed < s.asked {
		s.confirmed++
		if s.subscribed && s.confirmed == s.asked {
			s.alone = false
		}
		completed = sh.takeCompleted(completed, s)
	}
	sh.r.mu.Unlock()
	completeAll(completed)
}
