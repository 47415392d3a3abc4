package history

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// A budget that is passed is trimmed by a hundredth more: to find the oldest takes a
	// look at all.
	trimShare = 100
	// bucketsAtOnce is how many buckets a round trip looks at whole.
	bucketsAtOnce = 16
	// twoDays is what channel.lua adds to the life of a position at most.
	twoDays = 48 * time.Hour
)

// trim drops the oldest messages of an app that are over its budget. Positions of channels
// without messages go first if they take more than half of it.
func (s *Sweeper) trim(ctx context.Context, id string) error {
	app := s.app(id)
	t := trimming{Sweeper: s, app: app, bytes: map[rediskeys.Bucket]int64{}}
	if err := t.count(ctx); err != nil || t.total <= app.HistoryBytes {
		return err
	}
	t.target = app.HistoryBytes - app.HistoryBytes/trimShare
	if err := t.list(ctx); err != nil {
		return err
	}
	enough := func() bool {
		return t.total <= t.target || int64(len(t.positions))*positionBytes <= app.HistoryBytes/2
	}
	if err := t.evict(ctx, &t.positions, true, enough); err != nil {
		return err
	}
	enough = func() bool { return t.total <= t.target }
	if err := t.evict(ctx, &t.messages, false, enough); err != nil {
		return err
	}
	return t.evict(ctx, &t.positions, true, enough)
}

// trimming is an app that is over its budget.
type trimming struct {
	*Sweeper
	app   *apps.App
	bytes map[rediskeys.Bucket]int64
	total int64

	target int64 // what total is to be at most

	messages, positions []entry // channels with messages, and those without
}

// count adds up the bytes of all buckets.
func (t *trimming) count(ctx context.Context) error {
	p := t.opt.Redis.Pipeline()
	got := map[rediskeys.Bucket]*redis.StringCmd{}
	for b := range t.opt.Keys.Buckets(t.app.ID) {
		got[b] = p.Get(ctx, b.HistoryBytes())
	}
	if _, err := p.Exec(ctx); err != nil && err != redis.Nil {
		return err
	}
	for b, cmd := range got {
		t.bytes[b], _ = cmd.Int64()
		t.total += t.bytes[b]
	}
	return nil
}

// list reads which channels there are.
func (t *trimming) list(ctx context.Context) error {
	var with []rediskeys.Bucket
	for b, n := range t.bytes {
		if n > 0 {
			with = append(with, b)
		}
	}
	for some := range slices.Chunk(with, bucketsAtOnce) {
		p := t.opt.Redis.Pipeline()
		clock := redisconn.Clock(ctx, t.opt.Redis, p, some[0].HistoryIndex())
		all := make([]*redis.ZSliceCmd, len(some))
		for i, b := range some {
			all[i] = p.ZRangeWithScores(ctx, b.HistoryIndex(), 0, -1)
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
		for i, b := range some {
			for _, z := range all[i].Val() {
				name, _ := z.Member.(string)
				t.add(b, name, int64(z.Score), clock.Val())
			}
		}
	}
	return nil
}

// add takes an entry of an index. A channel whose entry comes later than its newest message
// could expire has none.
func (t *trimming) add(b rediskeys.Bucket, name string, score int64, now time.Time) {
	rule := t.app.HistoryOf(name)
	switch {
	case rule == nil:
		t.messages = append(t.messages, entry{b, name, 0})
	case score > now.Add(rule.TTL).UnixMilli():
		t.positions = append(t.positions, entry{b, name, score - (rule.TTL + positionLife + twoDays).Milliseconds()})
	default:
		t.messages = append(t.messages, entry{b, name, score - rule.TTL.Milliseconds()})
	}
}

// evict drops the oldest of the entries, until it is enough.
func (t *trimming) evict(ctx context.Context, entries *[]entry, positions bool, enough func() bool) error {
	for len(*entries) > 0 && !enough() {
		slices.SortFunc(*entries, older)
		n := t.some(len(*entries))
		oldest := (*entries)[:n]
		cutoff := max(1, oldest[n-1].at)
		rest := slices.Clone((*entries)[n:])
		left, err := t.dropUntil(ctx, oldest, cutoff, positions)
		if err != nil {
			return err
		}
		*entries = append(rest, left...)
	}
	return nil
}

// some is of how many channels to drop the oldest messages at once: fewer than it will
// take, if channels are alike.
func (t *trimming) some(channels int) int {
	excess := float64(t.total-t.target) / float64(max(1, t.total))
	return min(channels, 1+int(max(0, excess)*float64(channels)*3/4), 1000)
}

// dropUntil drops what the channels have until cutoff. It returns those that have more, with
// what their oldest is now.
func (t *trimming) dropUntil(ctx context.Context, oldest []entry, cutoff int64, positions bool) (left []entry, err error) {
	of := map[rediskeys.Bucket]int{}
	var drops []drop
	for _, e := range oldest {
		i, ok := of[e.bucket]
		if !ok {
			i = len(drops)
			of[e.bucket] = i
			drops = append(drops, drop{bucket: e.bucket, cutoff: cutoff, positions: positions})
		}
		drops[i].channels = append(drops[i].channels, e.channel)
	}
	results, err := t.drop(ctx, t.app, drops, EvictedByBytes)
	if err != nil {
		return nil, err
	}
	for i, d := range drops {
		t.total += results[i].bytes - t.bytes[d.bucket]
		t.bytes[d.bucket] = results[i].bytes
		for j, name := range d.channels {
			switch at := results[i].oldest[j]; {
			case at < 0 && !positions:
				t.positions = append(t.positions, entry{d.bucket, name, -at})
			case at != 0:
				left = append(left, entry{d.bucket, name, max(at, -at)})
			}
		}
	}
	return left, nil
}

// trimKeys drops the oldest idempotency keys of an app that has too many.
func (s *Sweeper) trimKeys(ctx context.Context, id string) error {
	buckets := slices.Collect(s.opt.Keys.Buckets(id))
	calls := make([]*redisconn.Call, len(buckets))
	for i, b := range buckets {
		calls[i] = keysCall(b)
	}
	if err := redisconn.Exec(ctx, s.opt.Redis, calls); err != nil {
		return err
	}
	total := int64(0)
	counts := make([]int64, len(buckets))
	for i, call := range calls {
		counts[i], _ = call.Reply.Int64()
		total += counts[i]
	}
	if total <= maxIdempotencyKeys {
		return nil
	}
	excess := total - maxIdempotencyKeys + maxIdempotencyKeys/trimShare
	var all []entry
	for i, b := range buckets {
		if counts[i] == 0 {
			continue
		}
		found, err := s.opt.Redis.ZRangeWithScores(ctx, b.IdempotencyIndex(), 0, min(excess, counts[i])-1).Result()
		if err != nil {
			return err
		}
		for _, z := range found {
			name, _ := z.Member.(string)
			all = append(all, entry{b, name, int64(z.Score)})
		}
	}
	slices.SortFunc(all, older)
	return s.dropKeys(ctx, all[:min(int64(len(all)), excess)])
}

func keysCall(b rediskeys.Bucket) *redisconn.Call {
	return &redisconn.Call{Script: keysScript, Keys: []string{b.IdempotencyIndex()}, Args: []any{idempotencyLife.Milliseconds()}}
}

func (s *Sweeper) dropKeys(ctx context.Context, all []entry) error {
	of := map[rediskeys.Bucket]*redisconn.Call{}
	var calls []*redisconn.Call
	for _, e := range all {
		call := of[e.bucket]
		if call == nil || len(call.Keys) > dropAtOnce {
			call = keysCall(e.bucket)
			of[e.bucket] = call
			calls = append(calls, call)
		}
		call.Keys = append(call.Keys, string(e.bucket)+e.channel)
		call.Args = append(call.Args, e.channel)
	}
	for some := range slices.Chunk(calls, bucketsAtOnce) {
		if err := redisconn.Exec(ctx, s.opt.Redis, some); err != nil {
			return err
		}
	}
	return nil
}
