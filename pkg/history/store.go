package history

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

var (
	//go:embed read.lua
	readLua string
	//go:embed forget.lua
	forgetLua string

	readScript   = script(readLua)
	forgetScript = script(forgetLua)
)

func script(lua string) *redisconn.Script { return redisconn.NewScript(deadline.Lua + Lua + lua) }

// maxPage bounds the bytes of a Read: no further message is added from there on.
const maxPage = 256 << 10

// ErrForgetful is the error of a Read or Forget of a channel that remembers nothing.
var ErrForgetful = errors.New("the channel remembers no messages")

// Read is what to read of one channel, and what was read.
type Read struct {
	App     *apps.App
	Channel string
	// Since asks for what follows the position, Last for so many of the newest messages.
	// At most one is set; without either only Position is read.
	Since *protocol.Position
	Last  int

	Limit    int // messages of this page; 0: apps.MaxHistorySize
	MaxBytes int // from so many on, the page gets no further message; 0: 256 KiB

	Position  protocol.Position // the newest
	Recovered bool              // with Since: everything after it follows, in this page and the next
	Messages  []Message         // the oldest first
	More      bool              // messages after these are there: read since the last one
	Err       error             // why nothing was read of this channel
}

// Store reads and forgets what channels remember. It is safe for concurrent use.
type Store struct {
	redis      redis.UniversalClient
	keys       rediskeys.Namespace
	generation Generation
}

// NewStore returns a Store.
func NewStore(rdb redis.UniversalClient, keys rediskeys.Namespace) *Store {
	return &Store{redis: rdb, keys: keys}
}

// Doubt has the next Read ask whether Redis is another one by now: the link was lost.
func (s *Store) Doubt() { s.generation.Forget() }

// Read reads of all channels in one round trip. Each Read has its own error; the first of
// them is returned.
func (s *Store) Read(ctx context.Context, reads []*Read) error {
	calls := make([]*redisconn.Call, 0, len(reads))
	of := make([]*Read, 0, len(reads))
	for _, r := range reads {
		rule := r.App.HistoryOf(r.Channel)
		if rule == nil {
			r.Err = ErrForgetful
			continue
		}
		calls, of = append(calls, s.readCall(r, rule)), append(of, r)
	}
	if len(calls) > 0 {
		sent := time.Now()
		_ = redisconn.Exec(ctx, s.redis, calls) // each has its error
		var touches []deadline.Set
		for i, r := range of {
			var touch *deadline.Set
			if touch, r.Err = s.fill(r, calls[i], sent); touch != nil {
				touches = append(touches, *touch)
			}
		}
		s.touch(ctx, touches)
	}
	for _, r := range reads {
		if r.Err != nil {
			return fmt.Errorf("channel %s: %w", r.Channel, r.Err)
		}
	}
	return nil
}

func (s *Store) readCall(r *Read, rule *apps.HistoryRule) *redisconn.Call {
	since := protocol.Position{}
	if r.Since != nil {
		since = *r.Since
		if since.Epoch == "" {
			since.Epoch = "-" // which no channel has
		}
	}
	limit, bytes := r.Limit, r.MaxBytes
	if limit <= 0 {
		limit = apps.MaxHistorySize
	}
	if bytes <= 0 {
		bytes = maxPage
	}
	call := s.call(readScript, r.App, r.Channel, rule)
	call.Args = append(call.Args, since.Epoch, since.Offset, max(0, r.Last), limit, bytes)
	return call
}

func (s *Store) call(script *redisconn.Script, app *apps.App, channel string, rule *apps.HistoryRule) *redisconn.Call {
	in := s.keys.Bucket(app.ID, channel)
	args := s.generation.AppendSetup(make([]any, 0, 20), s.keys, app, PlaceOf(s.redis, in))
	return &redisconn.Call{
		Script: script, Keys: []string{in.Last(channel)},
		Args: append(args, rule.Size, rule.TTL.Milliseconds()),
	}
}

// fill reads what read.lua returned. touch is where nodes must look.
func (s *Store) fill(r *Read, call *redisconn.Call, sent time.Time) (touch *deadline.Set, err error) {
	reply, err := call.Reply.Slice()
	if err != nil {
		return nil, err
	}
	if len(reply) < 7 {
		return nil, fmt.Errorf("read.lua returned %d values", len(reply))
	}
	epoch, _ := reply[0].(string)
	offset, _ := reply[1].(string)
	first, _ := reply[4].(string)
	newest, err1 := strconv.ParseUint(offset, 10, 64)
	next, err2 := strconv.ParseUint(first, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("read.lua returned no offsets: %w", err)
	}
	r.Position = protocol.Position{Epoch: epoch, Offset: newest}
	r.Recovered, r.More = reply[2] == int64(1), reply[3] == int64(1)
	r.Messages = make([]Message, 0, len(reply)-7)
	for _, kept := range reply[7:] {
		text, _ := kept.(string)
		m, err := ParseMessage([]byte(text), next)
		if err != nil {
			return nil, err
		}
		r.Messages = append(r.Messages, m)
		next++
	}
	if generation, _ := reply[5].(string); generation != "" {
		s.generation.Learn(PlaceOf(s.redis, s.keys.Bucket(r.App.ID, r.Channel)), generation, sent)
	}
	if after, _ := reply[6].(string); after != "" {
		ms, _ := strconv.ParseInt(after, 10, 64)
		touch = &deadline.Set{Kind: deadline.History, Bucket: s.keys.Bucket(r.App.ID, r.Channel), After: time.Duration(ms) * time.Millisecond}
	}
	return touch, nil
}

// touch has nodes look into buckets in time. If it fails, the next channel that a bucket
// gets does it.
func (s *Store) touch(ctx context.Context, sets []deadline.Set) {
	if len(sets) > 0 {
		_ = redisconn.Exec(ctx, s.redis, []*redisconn.Call{deadline.Touch(s.keys, sets...)})
	}
}

// Forget forgets the messages of a channel. Its position stays, and offsets go on rising.
func (s *Store) Forget(ctx context.Context, app *apps.App, channel string) error {
	rule := app.HistoryOf(channel)
	if rule == nil {
		return ErrForgetful
	}
	call, sent := s.call(forgetScript, app, channel, rule), time.Now()
	if err := redisconn.Exec(ctx, s.redis, []*redisconn.Call{call}); err != nil {
		return err
	}
	reply, err := call.Reply.StringSlice()
	if err == nil && len(reply) == 1 && reply[0] != "" {
		s.generation.Learn(PlaceOf(s.redis, s.keys.Bucket(app.ID, channel)), reply[0], sent)
	}
	return err
}
