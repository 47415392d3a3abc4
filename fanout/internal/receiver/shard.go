package receiver

import (
	"context"
	"fmt"
	"time"

	"fleetwire/pkg/batch"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// shard is what a node receives from one Redis, the only one or a master of a cluster:
// over one link, which its goroutine (keepLink) keeps up.
type shard struct {
	r      *Receiver
	addr   string // of the master; "": there is no cluster
	prober *prober
	health *redisconn.Health  // of the master, or of the one server
	wake   batch.Signal       // there are changes to send
	stop   context.CancelFunc // ends keepLink, of a master that has no slots any more

	// Under Receiver.mu.
	wanted      map[string]*subscription // by topic or glob
	changed     []*subscription
	link        *link // once it is ready, until it is lost
	trouble     error // why the last link was lost, until the next is proven
	unconfirmed int   // subscriptions that Redis has yet to confirm since the link came up
	recovered   bool  // one of them has come to its end: call restored when all have, and the link is proven
	refusals    map[string]*subscription
	astray      []*subscription // that this master has not got any more; they wait for the topology
}

func newShard(r *Receiver, p *prober) *shard {
	return &shard{r: r, prober: p, health: r.opt.Health, wake: batch.NewSignal(), wanted: map[string]*subscription{}, refusals: map[string]*subscription{}}
}

// keepLink keeps the link to Redis up until ctx ends. A lost link is made anew and
// everything wanted is subscribed again.
func (sh *shard) keepLink(ctx context.Context) {
	var pauses backoff
	for ctx.Err() == nil {
		l := &link{r: sh.r, shard: sh}
		err := l.run(ctx)
		sh.down()
		if ctx.Err() != nil {
			break
		}
		sh.lost(err)
		sh.health.Look() // if Redis is gone, commands need not find out one by one
		sh.r.lookForMasters()
		lived := time.Duration(0)
		if !l.proven.IsZero() {
			lived = time.Since(l.proven)
		}
		if pause := pauses.next(lived); pause > 0 {
			sh.r.pause(ctx, pause)
		}
	}
}

// proven says whether the link is up and delivers. It is called with r.mu held.
func (sh *shard) proven() bool { return sh.link != nil && !sh.link.proven.IsZero() }

// up marks everything that is wanted as yet to be sent.
func (sh *shard) up(l *link) {
	sh.r.mu.Lock()
	sh.link = l
	sh.recovered = false
	for _, s := range sh.wanted {
		sh.start(s)
	}
	sh.r.mu.Unlock()
	sh.wake.Set()
}

// start has a subscription sent that is missing since the link came up. It is called
// with r.mu held.
func (sh *shard) start(s *subscription) {
	if !s.starting {
		s.starting = true
		sh.unconfirmed++
	}
	sh.markChanged(s)
}

// down forgets what Redis was sent, and refuses the calls that wait for it.
func (sh *shard) down() {
	sh.r.mu.Lock()
	sh.link = nil
	sh.unconfirmed, sh.recovered = 0, false
	sh.r.counts.forget(func(b rediskeys.Bucket) bool { return sh.r.shardOf(string(b)) == sh })
	clear(sh.refusals)
	sh.astray = nil
	var waiting []func(error)
	for topic, s := range sh.wanted {
		waiting = append(waiting, s.waiting...)
		if s.subscribers == 0 && !s.changed {
			delete(sh.wanted, topic)
		}
		// The subscription is still wanted, but Redis has been sent nothing of it.
		*s = subscription{key: s.key, topic: s.topic, subscribers: s.subscribers, changed: s.changed}
	}
	sh.r.mu.Unlock()
	for _, done := range waiting {
		done(ErrDown)
	}
}

// lost reports, once for each outage, that the link was lost.
func (sh *shard) lost(err error) {
	sh.r.mu.Lock()
	defer sh.r.mu.Unlock()
	if sh.trouble == nil {
		sh.r.opt.Log.Warn("the link to redis is down, subscriptions will be renewed", "err", sh.named(err))
	}
	sh.trouble = err
}

// named adds to an error which master of a cluster it is about.
func (sh *shard) named(err error) error {
	if sh.addr == "" {
		return err
	}
	return fmt.Errorf("master %s: %w", sh.addr, err)
}

// sharded says whether the topics are those of SSUBSCRIBE.
func (sh *shard) sharded() bool { return sh.r.cluster != nil }

// backoff is the pauses between attempts to connect; it holds the next.
type backoff time.Duration

// next is the pause behind a link that worked for as long as lived.
func (b *backoff) next(lived time.Duration) time.Duration {
	pause := time.Duration(*b)
	if lived > linkRetry {
		pause = 0
	}
	*b = backoff(min(max(2*pause, linkRetry), linkRetryMax))
	return pause
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
