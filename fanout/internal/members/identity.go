package members

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// identity is what a node is to the others while it holds a lease.
type identity struct {
	node    string
	buckets map[rediskeys.Bucket]bool // that it has, or had, members in
	since   time.Time                 // when it was taken
	renewed time.Time
	refused []*member          // what Redis did not take (t.mu)
	belated []rediskeys.Bucket // of buckets, that Redis has yet to be told of

	// The identity before, until everything is stated under this one.
	former string

	reaping sync.WaitGroup
	busy    chan struct{} // holds one token while a goroutine reaps
}

// reapedIdentities bounds what one node reaps at once.
const reapedIdentities = 4

// farewell bounds how long a node that stops tries to let its members leave.
const farewell = time.Second

// Run keeps Redis up to date until ctx ends. Then all remaining members leave.
func (t *Tracker) Run(ctx context.Context) {
	t.busy = make(chan struct{}, 1)
	renewal := time.NewTicker(t.times.renewal)
	defer renewal.Stop()
	defer t.reaping.Wait()
	for ctx.Err() == nil {
		if err := t.follow(ctx, renewal.C); err != nil && ctx.Err() == nil {
			t.opt.Health.Observe(err)
			t.refuseWaiting()
			select {
			case <-ctx.Done():
			case <-time.After(t.times.retry):
			}
		}
	}
	t.end()
}

// follow takes an identity and tells Redis what changes, until Redis does not
// answer or the lease is lost.
func (t *Tracker) follow(ctx context.Context, renewal <-chan time.Time) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	held := time.NewTimer(0)
	defer held.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.doubt:
			return nil // to another identity
		case <-held.C:
		case <-renewal:
			if held, err := t.renewOrWait(ctx); !held || err != nil {
				return err
			}
			t.retryRefused()
		case <-t.wake:
		}
		if time.Since(t.renewed) > t.times.lease-t.times.renewal {
			// The process, or Redis, has stood still. Members stated under an identity
			// that others have reaped would stay for ever.
			if held, err := t.renewOrWait(ctx); !held || err != nil {
				return err
			}
		}
		t.release()
		if err := t.tell(ctx); err != nil {
			return err
		}
		if wait, ok := t.nextDue(); ok {
			held.Reset(wait)
		}
		t.reapFormer(ctx)
	}
}

// begin takes a new identity and has everything told under it.
func (t *Tracker) begin(ctx context.Context) error {
	select {
	case <-t.doubt: // everything is told anew in any case
	default:
	}
	if t.node != "" {
		// An identity that never got to state everything has little to reap, and
		// is reaped like a dead node's.
		t.former = t.node
		if err := t.store.enter(ctx, t.former, slices.Collect(maps.Keys(t.buckets))); err != nil {
			return err
		}
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	node := hex.EncodeToString(id[:])
	if _, _, err := t.store.lease(ctx, t.times, leaseRequest{node: node, begin: true, former: t.former}); err != nil {
		return err
	}
	t.node, t.buckets, t.belated = node, map[rediskeys.Bucket]bool{}, nil
	t.since = time.Now()
	t.renewed = t.since
	if t.opt.Identified != nil {
		t.opt.Identified(node)
	}
	t.restate()
	t.mu.Lock()
	t.refused = nil
	t.up = true
	t.mu.Unlock()
	t.wake.Set()
	return nil
}

// renew extends the lease, and reaps identities whose leases have expired.
func (t *Tracker) renew(ctx context.Context) (held bool, err error) {
	now := time.Now()
	ask := leaseRequest{node: t.node, renewed: t.renewed}
	if time.Since(t.since) >= t.times.steady && t.former == "" {
		ask.reap = reapedIdentities
	}
	held, dead, err := t.store.lease(ctx, t.times, ask)
	if err != nil || !held {
		return false, err
	}
	t.renewed = now
	t.reapAll(ctx, dead)
	return true, nil
}

// renewOrWait is renew, but while the master that has the leases does not answer, and others
// of its cluster do, the identity is held: nobody learns from that master whose lease has
// expired. When it answers again this node reaps none before the others had time to renew.
func (t *Tracker) renewOrWait(ctx context.Context) (held bool, err error) {
	if held, err = t.renew(ctx); held && err == nil && len(t.belated) > 0 {
		if err = t.store.enter(ctx, t.node, t.belated); err == nil {
			t.belated = nil
		}
	}
	if t.isOfOneMaster(err) {
		t.opt.Health.ObserveAt(t.opt.Keys.Leases(), err)
		t.since = time.Now()
		return true, nil
	}
	return held, err
}

// isOfOneMaster says whether an error means that a master of a cluster does not answer, of
// which others do.
func (t *Tracker) isOfOneMaster(err error) bool {
	return err != nil && !errors.Is(err, context.Canceled) && redisconn.IsCluster(t.opt.Redis) && redisconn.Unreachable(err) && t.opt.Health.Up()
}

// reapFormer reaps this node's former identity, now that everything is stated anew.
func (t *Tracker) reapFormer(ctx context.Context) {
	if t.former != "" {
		t.reapAll(ctx, []string{t.former})
		t.former = ""
	}
}

// reapAll reaps in the background, one identity after the other. Other nodes reap
// those that it does not reach.
func (t *Tracker) reapAll(ctx context.Context, dead []string) {
	if len(dead) == 0 {
		return
	}
	select {
	case t.busy <- struct{}{}:
	default:
		return
	}
	t.reaping.Go(func() {
		defer func() { <-t.busy }()
		for _, node := range dead {
			if err := t.store.reap(ctx, node); err != nil {
				if ctx.Err() == nil {
					t.opt.Log.Warn("what a dead node left in channels could not be taken out of redis, somebody will try again", "err", err)
				}
				return
			}
		}
	})
}

// retryRefused puts changes that Redis refused back into the queue.
func (t *Tracker) retryRefused() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.refused {
		if !m.dirty && t.members[m.memberKey] == m {
			m.dirty = true
			t.queue = append(t.queue, entry{member: m})
		}
	}
	t.refused = nil
}

// end lets all remaining members leave, and gives the identity back. If Redis does
// not take that, the lease expires.
func (t *Tracker) end() {
	t.refuseWaiting()
	if t.node == "" {
		return
	}
	t.mu.Lock()
	t.ending = true
	for _, m := range t.members {
		m.connection, m.others, m.dirty = 0, nil, true
		t.queue = append(t.queue, entry{member: m})
	}
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if t.tell(ctx) == nil {
		_ = t.store.reap(ctx, t.node) // finds no members
	}
}
