package history

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

var (
	//go:embed expired.lua
	expiredLua string
	//go:embed drop.lua
	dropLua string
	//go:embed marked.lua
	markedLua string
	//go:embed keys.lua
	keysLua string

	expiredScript = redisconn.NewScript(deadline.Lua + expiredLua)
	dropScript    = script(dropLua)
	markedScript  = redisconn.NewScript(deadline.Lua + markedLua)
	keysScript    = redisconn.NewScript(deadline.Lua + keysLua)
)

// dropAtOnce is how many channels of a bucket one script sees to.
const dropAtOnce = 100

// SweeperOptions set a Sweeper up.
type SweeperOptions struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Directory is the apps document in force.
	Directory func() *apps.Directory
	// Evicted is told how many messages were dropped, and why. nil: nothing is.
	Evicted func(why Eviction, messages int)
}

// Eviction is why a message is remembered no more.
type Eviction string

// The reasons.
const (
	EvictedByTTL   Eviction = "ttl"   // it has expired
	EvictedBySize  Eviction = "size"  // newer ones of its channel took its place
	EvictedByBytes Eviction = "bytes" // the app's messages took more than historyBytes
	EvictedByRules Eviction = "rules" // its channel remembers no more
)

// Sweeper frees what has expired, and what apps have no room for.
type Sweeper struct {
	opt        SweeperOptions
	generation Generation
}

// NewSweeper returns a Sweeper.
func NewSweeper(opt SweeperOptions) *Sweeper {
	if opt.Evicted == nil {
		opt.Evicted = func(Eviction, int) {}
	}
	return &Sweeper{opt: opt}
}

// Due sees to deadlines of the kind deadline.History: it is their handler.
func (s *Sweeper) Due(ctx context.Context, due []deadline.Due) error {
	var failed error
	var full, keys []deadline.Due
	for _, d := range due {
		for _, id := range d.IDs {
			switch id {
			case "ttl":
				failed = errors.Join(failed, s.expire(ctx, d))
			case "rules":
				failed = errors.Join(failed, s.reconsider(ctx, d))
			case "bytes":
				full = append(full, d)
			case "keys":
				keys = append(keys, d)
			}
		}
	}
	return errors.Join(failed, s.eachApp(ctx, full, "bytes", s.trim), s.eachApp(ctx, keys, "keys", s.trimKeys))
}

// eachApp sees to an app once, and then clears the deadline of its buckets.
func (s *Sweeper) eachApp(ctx context.Context, due []deadline.Due, id string, see func(ctx context.Context, app string) error) error {
	done := map[string]error{}
	p := s.opt.Redis.Pipeline()
	for _, d := range due {
		if _, ok := done[d.App]; !ok {
			done[d.App] = see(ctx, d.App)
		}
		if done[d.App] == nil {
			p.ZRem(ctx, d.Bucket.Due(string(deadline.History)), id)
		}
	}
	var failed error
	for _, err := range done {
		failed = errors.Join(failed, err)
	}
	if len(done) > 0 {
		_, err := p.Exec(ctx)
		failed = errors.Join(failed, err)
	}
	return failed
}

// app is the app with this id; one that is not in the document any more remembers nothing.
func (s *Sweeper) app(id string) *apps.App {
	if app, ok := s.opt.Directory().App(id); ok {
		return app
	}
	return &apps.App{ID: id, HistoryBytes: apps.DefaultHistoryBytes}
}

// expire drops messages of a bucket that have expired.
func (s *Sweeper) expire(ctx context.Context, d deadline.Due) error {
	app := s.app(d.App)
	for {
		call := &redisconn.Call{
			Script: expiredScript,
			Keys:   []string{d.Bucket.HistoryIndex(), d.Bucket.Due(string(deadline.History)), d.Bucket.HistoryBytes()},
			Args:   []any{dropAtOnce},
		}
		if err := redisconn.Exec(ctx, s.opt.Redis, []*redisconn.Call{call}); err != nil {
			return err
		}
		channels, err := call.Reply.StringSlice()
		if len(channels) == 0 || err != nil {
			return err
		}
		if _, err := s.drop(ctx, app, []drop{{bucket: d.Bucket, channels: channels}}, EvictedByTTL); err != nil {
			return err
		}
	}
}

// reconsider looks at all channels of a bucket, because the rules have changed.
func (s *Sweeper) reconsider(ctx context.Context, d deadline.Due) error {
	app := s.app(d.App)
	channels, err := s.opt.Redis.ZRange(ctx, d.Bucket.HistoryIndex(), 0, -1).Result()
	if err != nil {
		return err
	}
	for some := range slices.Chunk(channels, dropAtOnce) {
		if _, err := s.drop(ctx, app, []drop{{bucket: d.Bucket, channels: some}}, EvictedByTTL); err != nil {
			return err
		}
	}
	return s.opt.Redis.ZRem(ctx, d.Bucket.Due(string(deadline.History)), "rules").Err()
}

// drop is what to drop in one bucket.
type drop struct {
	bucket    rediskeys.Bucket
	channels  []string
	cutoff    int64 // drops what was published until then (ms); 0: what has expired
	positions bool  // and positions of that time
}

// dropped is what a bucket has then.
type dropped struct {
	bytes  int64
	oldest []int64 // of each channel, as drop.lua returns it
}

// drop drops messages in one round trip.
func (s *Sweeper) drop(ctx context.Context, app *apps.App, drops []drop, why Eviction) ([]dropped, error) {
	calls := make([]*redisconn.Call, len(drops))
	for i, d := range drops {
		args := s.generation.AppendSetup(nil, s.opt.Keys, app, PlaceOf(s.opt.Redis, d.bucket))
		cutoff, positions := "", 0
		if d.cutoff != 0 {
			cutoff = fmt.Sprint(d.cutoff)
		}
		if d.positions {
			positions = 1
		}
		args = append(args, cutoff, positions)
		for _, name := range d.channels {
			size, ttl := 0, int64(0)
			if rule := app.HistoryOf(name); rule != nil {
				size, ttl = rule.Size, rule.TTL.Milliseconds()
			}
			args = append(args, name, size, ttl)
		}
		calls[i] = &redisconn.Call{Script: dropScript, Keys: []string{d.bucket.HistoryIndex()}, Args: args}
	}
	if err := redisconn.Exec(ctx, s.opt.Redis, calls); err != nil {
		return nil, err
	}
	results := make([]dropped, len(drops))
	for i, d := range drops {
		reply, err := calls[i].Reply.Int64Slice()
		if err == nil && len(reply) != 1+3*len(d.channels) {
			err = fmt.Errorf("drop.lua returned %d numbers for %d channels", len(reply), len(d.channels))
		}
		if err != nil {
			return nil, err
		}
		results[i].bytes = reply[0]
		for j, name := range d.channels {
			of := reply[1+3*j:]
			s.evicted(app, name, why, int(of[0]))
			s.evicted(app, name, EvictedBySize, int(of[1]))
			results[i].oldest = append(results[i].oldest, of[2])
		}
	}
	return results, nil
}

func (s *Sweeper) evicted(app *apps.App, channel string, why Eviction, messages int) {
	if messages == 0 {
		return
	}
	if app.HistoryOf(channel) == nil {
		why = EvictedByRules
	}
	s.opt.Evicted(why, messages)
}

// entry is a channel in the index of its bucket.
type entry struct {
	bucket  rediskeys.Bucket
	channel string
	at      int64 // its oldest message was published then, or later (ms)
}

func older(a, b entry) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.channel, b.channel))
}
