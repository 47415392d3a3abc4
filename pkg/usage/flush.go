package usage

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
)

const (
	// A batch is one run of add.lua, and a round trip carries at most so many
	// entries in so many batches: Redis is busy with either for a few
	// milliseconds at most.
	maxBatchEntries = 256
	maxRoundEntries = 512
	maxRoundBatches = 64
	// A run of add.lua takes so many names out of a ranking that has too many. That
	// is more than it adds.
	maxTakenOut = 512

	// flushedLife is how long Redis knows which batches it has taken.
	flushedLife = time.Hour
)

var (
	//go:embed add.lua
	addLua    string
	addScript = redisconn.NewScript(addLua)
)

// batch is figures with a number. It stays as it is until Redis has confirmed it,
// so that Redis can tell that it comes again. Figures gather for a while, and wait
// for the batch before, so none of this is a batch.Batcher's.
type batch struct {
	bucket
	kind    Kind
	number  int64
	entries []entry
}

type entry struct {
	name string
	tally
}

// Flush sends all that was counted before it was called, and waits until Redis
// has taken it or ctx ends. It begins with what an earlier Flush could not deliver.
// After an error nothing is lost: the next Flush goes on where this one ended.
func (r *Recorder) Flush(ctx context.Context) error {
	select {
	case r.flushing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.flushing }()

	if err := r.send(ctx); away(err) {
		return err
	}
	r.freeze()
	return r.send(ctx)
}

// freeze makes batches of what was counted. Buckets that still have batches
// pending go on counting, so that no more than one flush of each is pending.
func (r *Recorder) freeze() {
	stuck := map[bucket]bool{}
	for _, b := range r.pending {
		stuck[b.bucket] = true
	}
	frozen := map[bucket]*tallies{}
	r.mu.Lock()
	for b, t := range r.current {
		if !stuck[b] {
			frozen[b] = t
			delete(r.current, b)
			r.fresh -= len(t.channels.of) + len(t.peers.of)
		}
	}
	r.mu.Unlock()

	for b, t := range frozen {
		r.queue(b, Channels, t.channels)
		r.queue(b, Peers, t.peers)
	}
}

func (r *Recorder) queue(to bucket, kind Kind, names names) {
	var b *batch
	if names.other.published > 0 {
		names.of[""] = &names.other // as add.lua has it; frozen, and not counted any more
	}
	for name, t := range names.of {
		if b == nil || len(b.entries) == maxBatchEntries {
			r.number++
			b = &batch{bucket: to, kind: kind, number: r.number, entries: make([]entry, 0, min(len(names.of), maxBatchEntries))}
			r.pending = append(r.pending, b)
		}
		b.entries = append(b.entries, entry{name, *t})
	}
}

// send sends what is pending, round trip by round trip. It ends with the first
// in which Redis did not answer. A bucket whose batch Redis refused is left for
// the next flush, and holds up no other.
func (r *Recorder) send(ctx context.Context) error {
	var first error
	refused := map[bucket]bool{}
	for {
		round := r.round(refused)
		if len(round) == 0 {
			return first
		}
		calls := make([]*redisconn.Call, len(round))
		for i, b := range round {
			calls[i] = r.call(b)
		}
		err := redisconn.Exec(ctx, r.opt.Redis, calls)
		taken := map[*batch]bool{}
		for i, b := range round {
			if _, replyErr := calls[i].Reply.Int64(); replyErr == nil {
				taken[b] = true
			} else {
				refused[b.bucket] = true
				if first == nil {
					first = replyErr
				}
			}
		}
		r.settle(taken)
		if away(err) {
			return err
		}
	}
}

// away says whether err means that another try would fail as well, just now.
func away(err error) bool {
	return err != nil && (redisconn.Unreachable(err) || errors.Is(err, context.Canceled))
}

// round picks the batches of the next round trip: the first of each bucket, as
// none may be sent before the one ahead of it is confirmed.
func (r *Recorder) round(refused map[bucket]bool) []*batch {
	var round []*batch
	entries := 0
	in := map[bucket]bool{}
	for _, b := range r.pending {
		if in[b.bucket] || refused[b.bucket] {
			continue
		}
		entries += len(b.entries)
		if len(round) == maxRoundBatches || entries > maxRoundEntries {
			break
		}
		in[b.bucket] = true
		round = append(round, b)
	}
	return round
}

func (r *Recorder) call(b *batch) *redisconn.Call {
	start, err := time.Parse(periodLayout, b.period)
	if err != nil {
		panic(err) // the name is our own
	}
	args := make([]any, 5, 5+3*len(b.entries))
	args[0], args[1], args[2] = b.number, quota.Expiry(start).Unix(), int64(flushedLife/time.Second)
	args[3], args[4] = MaxNames, maxTakenOut
	for i := range b.entries {
		e := &b.entries[i]
		args = append(args, e.name, e.published, e.bytes)
	}
	return &redisconn.Call{
		Script: addScript,
		Keys: []string{
			r.opt.Keys.Usage(b.app, b.period, string(b.kind)),
			r.opt.Keys.UsageBytes(b.app, b.period, string(b.kind)),
			r.opt.Keys.UsageFlushed(b.app, b.period, r.id),
			r.opt.Keys.UsageOther(b.app, b.period, string(b.kind)),
		},
		Args: args,
	}
}

// settle drops what Redis has taken.
func (r *Recorder) settle(taken map[*batch]bool) {
	names := 0
	var left []*batch
	for _, b := range r.pending {
		if taken[b] {
			for i := range b.entries {
				if b.entries[i].name != "" {
					names++
				}
			}
		} else {
			left = append(left, b)
		}
	}
	r.pending = left
	r.mu.Lock()
	r.unflushed -= names
	r.mu.Unlock()
}
