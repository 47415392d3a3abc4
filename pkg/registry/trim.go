package registry

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// trimPause is how often the peers of an app are counted at most.
	trimPause = time.Second
	// Of an app that remembers very many, a hundredth is forgotten at once: finding
	// the longest unseen takes a look at all.
	manyPeers  = 10_000
	trimShare  = 100
	trimAtOnce = 500 // peers of one step
)

// trims are the apps that may remember more peers than they should.
type trims struct {
	trimming sync.Mutex
	full     map[string]bool
	trimmed  batch.Signal // wakes trimAll
}

func newTrims() trims { return trims{full: map[string]bool{}, trimmed: batch.NewSignal()} }

// counted takes how many peers one of the app's buckets has. Names spread evenly, so
// while none has its share the app is not full.
func (t *trims) counted(app *apps.App, n int64) {
	if n*rediskeys.BucketsPerApp <= app.Peers.MaxRemembered {
		return
	}
	t.trimming.Lock()
	t.full[app.ID] = true
	t.trimming.Unlock()
	t.trimmed.Set()
}

// trimAll forgets the longest unseen peers of apps that have too many, until ctx ends.
func (t *trims) trimAll(ctx context.Context, opt RecorderOptions) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.trimmed:
		}
		t.trimming.Lock()
		full := t.full
		t.full = map[string]bool{}
		t.trimming.Unlock()
		for id := range full {
			app, ok := opt.Directory().App(id)
			if !ok {
				continue
			}
			if err := trim(ctx, opt.Redis, opt.Keys, app); err != nil && ctx.Err() == nil {
				opt.Log.Warn("an app remembers too many peers, and redis does not let the longest unseen be forgotten; it is tried again with the next", "app", id, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(trimPause):
		}
	}
}

// unseen is a peer that is offline.
type unseen struct {
	bucket rediskeys.Bucket
	at     int64
	text   string // at, as the record has it
	peer   string
}

// trim forgets as many of the longest unseen peers as the app has too many.
func trim(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace, app *apps.App) error {
	buckets := slices.Collect(keys.Buckets(app.ID))
	excess, err := excess(ctx, rdb, buckets, app.Peers.MaxRemembered)
	if excess <= 0 || err != nil {
		return err
	}
	calls := make([]*redisconn.Call, len(buckets))
	for i, b := range buckets {
		calls[i] = &redisconn.Call{Script: oldestScript, Keys: []string{b.Peers()}, Args: []any{excess}}
	}
	var all []unseen
	for i := 0; i < len(calls); i += 16 { // each looks at a whole bucket
		some := calls[i:min(i+16, len(calls))]
		if err := redisconn.Exec(ctx, rdb, some); err != nil {
			return err
		}
		for j, call := range some {
			found, err := call.Reply.StringSlice()
			if err != nil {
				return err
			}
			for ; len(found) >= 2; found = found[2:] {
				at, _ := strconv.ParseInt(found[0], 10, 64)
				all = append(all, unseen{buckets[i+j], at, found[0], found[1]})
			}
		}
	}
	slices.SortFunc(all, func(a, b unseen) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.peer, b.peer)) })
	return drop(ctx, rdb, all[:min(int(excess), len(all))])
}

// excess is how many peers to forget.
func excess(ctx context.Context, rdb redis.UniversalClient, buckets []rediskeys.Bucket, most int64) (int64, error) {
	p := rdb.Pipeline()
	counts := make([]*redis.IntCmd, len(buckets))
	for i, b := range buckets {
		counts[i] = p.HLen(ctx, b.Peers())
	}
	if _, err := p.Exec(ctx); err != nil {
		return 0, err
	}
	total := int64(0)
	for _, n := range counts {
		total += n.Val()
	}
	if over := total - most; over <= 0 || most <= manyPeers {
		return over, nil
	}
	return total - most + most/trimShare, nil
}

func drop(ctx context.Context, rdb redis.UniversalClient, all []unseen) error {
	byBucket := map[rediskeys.Bucket]*redisconn.Call{}
	var calls []*redisconn.Call
	for _, u := range all {
		call := byBucket[u.bucket]
		if call == nil || len(call.Args) >= 2*trimAtOnce {
			call = &redisconn.Call{Script: dropScript, Keys: []string{u.bucket.Peers(), u.bucket.PeerIndex(), u.bucket.Wills(), u.bucket.Due(string(deadline.Will))}}
			byBucket[u.bucket] = call
			calls = append(calls, call)
		}
		call.Args = append(call.Args, u.text, u.peer)
	}
	if len(calls) == 0 {
		return nil
	}
	return redisconn.Exec(ctx, rdb, calls)
}
