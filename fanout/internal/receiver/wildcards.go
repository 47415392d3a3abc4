package receiver

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
)

// A Redis Cluster has no PSUBSCRIBE for sharded topics. A node that has subscribers by
// wildcard in an app sets a key in each bucket of the app, and subscribes to the bucket's
// topic of all channels: while the key stands, messages are published there, too. What
// comes in is filtered like what comes in by a glob.

const (
	wildcardsLease   = 30 * time.Second
	wildcardsRenewal = 10 * time.Second
)

// wildcards are a node's on a cluster. Receiver.mu guards it.
type wildcards struct {
	r       *Receiver
	apps    map[globApp]*wildcardApp
	renewed time.Time
}

// wildcardApp is what is wanted of one app: all its channels, while any pattern asks for
// a glob.
type wildcardApp struct {
	globs   map[string]int // how many patterns ask for each
	buckets []*subscription
}

// set counts one pattern more or one less that asks for a glob. It is called with mu held.
func (w *wildcards) set(of globApp, asked string, wanted bool, done func(error)) error {
	if !wanted {
		w.remove(of, asked)
		return nil
	}
	app := w.apps[of]
	if app != nil {
		if err := app.wait(w.r, done); err != nil {
			return err
		}
		app.globs[asked]++
		return nil
	}
	keys := w.keysOf(of)
	for _, key := range keys {
		topic := w.r.topicOf(key)
		if err := w.r.shardOf(topic).refuses(topic); err != nil {
			return err
		}
	}
	app = &wildcardApp{globs: map[string]int{asked: 1}}
	all := &joined{waits: len(keys), done: done}
	for _, key := range keys {
		_ = w.r.change(key, 1, all.one) // it refuses nothing that was not refused above
		topic := w.r.topicOf(key)
		app.buckets = append(app.buckets, w.r.shardOf(topic).wanted[topic])
	}
	w.apps[of] = app
	return nil
}

// wait has done called when all that is wanted already has come about. It is called with mu
// held.
func (app *wildcardApp) wait(r *Receiver, done func(error)) error {
	var unsettled []*subscription
	for _, s := range app.buckets {
		if err := r.shardOf(s.topic).refuses(s.topic); err != nil {
			return err
		}
		if s.changed || s.refusal != nil || !s.settled() {
			unsettled = append(unsettled, s)
		}
	}
	if len(unsettled) == 0 {
		unsettled = app.buckets[:1] // done is called from elsewhere in any case
	}
	all := &joined{waits: len(unsettled), done: done}
	for _, s := range unsettled {
		_ = r.change(s.key, 1, all.one)
	}
	return nil
}

func (w *wildcards) remove(of globApp, asked string) {
	app := w.apps[of]
	if app == nil || app.globs[asked] == 0 {
		return
	}
	if app.globs[asked]--; app.globs[asked] == 0 {
		delete(app.globs, asked)
	}
	if len(app.globs) > 0 {
		return
	}
	delete(w.apps, of)
	for _, s := range app.buckets {
		_ = w.r.change(s.key, 0, nil)
	}
}

func (w *wildcards) keysOf(of globApp) (keys []subscriptionKey) {
	for b := range w.r.opt.Keys.Buckets(of.app) {
		keys = append(keys, subscriptionKey{kind: of.kind, all: true, app: of.app, name: b.Tag()})
	}
	return keys
}

// joined is one call that waits for several subscriptions. It fails with the first that
// does.
type joined struct {
	mu    sync.Mutex
	waits int
	err   error
	done  func(error)
}

func (j *joined) one(err error) {
	j.mu.Lock()
	if j.err == nil {
		j.err = err
	}
	j.waits--
	last := j.waits == 0
	j.mu.Unlock()
	if last {
		j.done(j.err)
	}
}

// setWildcards sets the keys of buckets, each of which stands for a while, at the shard's own
// master: the client of the cluster may not know it yet. If nothing is wanted of a bucket any
// more its key is left to expire, as other nodes may want it.
func (sh *shard) setWildcards(ctx context.Context, changes []countChange) {
	ctx, cancel := context.WithTimeout(ctx, countsPatience)
	defer cancel()
	p := sh.prober.redis.Pipeline()
	for i, change := range changes {
		if key := change.of.key; key.all && change.subscribers > 0 {
			b, _ := sh.r.opt.Keys.BucketOf(key.app, key.name)
			changes[i].key = p.Set(ctx, b.Wildcards(key.kind), 1, wildcardsLease)
		}
	}
	if p.Len() > 0 {
		_, _ = p.Exec(ctx) // each key has its error
	}
}

// counted takes it that Redis was sent a count, or the key of a bucket. Without the
// key nothing is published for wildcards, so if Redis refused it, it refused the subscription;
// if its master did not answer, the key is sent again when the topology was read.
// It is called with r.mu held.
func (sh *shard) counted(c countChange) {
	c.of.counted = c.subscribers
	if c.key == nil || c.key.Err() == nil {
		return
	}
	c.of.counted = 0
	if err := c.key.Err(); elsewhere(err) || redisconn.Unreachable(err) {
		sh.wait(c.of)
		sh.r.lookForMasters()
		return
	}
	c.of.refusal = &refusal{&RefusedError{c.key.Err().Error(), false}, time.Now()}
	sh.refusals[c.of.topic] = c.of
	sh.r.reportRefusal(c.of, c.key.Err())
}

// renewWildcards renews the keys of all buckets when it is time. Where one was gone, messages
// may have been missed.
func (r *Receiver) renewWildcards(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &r.cluster.wildcards
	now := time.Now()
	if now.Sub(w.renewed) < wildcardsRenewal {
		return
	}
	w.renewed = now
	p := r.opt.Redis.Pipeline()
	renewals := map[*subscription]*redis.StatusCmd{}
	for _, app := range w.apps {
		for _, s := range app.buckets {
			if s.counted > 0 {
				renewals[s] = p.SetArgs(ctx, r.bucketOf(s.key).Wildcards(s.key.kind), 1, redis.SetArgs{TTL: wildcardsLease, Get: true})
			}
		}
	}
	if len(renewals) == 0 {
		return
	}
	r.mu.Unlock()
	bounded, cancel := r.counts.bounded(ctx)
	_, _ = p.Exec(bounded)
	cancel()
	r.mu.Lock()
	for s, renewal := range renewals {
		sh := r.shardOf(s.topic)
		if renewal.Err() != nil && sh.link != nil && sh.wanted[s.topic] == s && s.counted > 0 { // redis.Nil: it was gone
			s.counted = 0
			sh.start(s)
			sh.wake.Set()
		}
	}
}
