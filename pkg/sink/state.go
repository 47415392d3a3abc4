package sink

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/group"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

//go:embed state.lua
var stateLua string

var stateScript = redisconn.NewScript(deadline.Lua + stateLua)

// Condition is how a sink does.
type Condition string

// The conditions.
const (
	OK      Condition = "ok"
	Failing Condition = "failing" // it takes nothing now, and is tried again
	Stopped Condition = "stopped" // it wants nothing any more
)

// State is what the nodes know of a sink. Times are unix ms, by Redis's clock; 0: there was none.
type State struct {
	Condition       Condition
	Since           int64 // it is failing or stopped
	RetryAt         int64 // it is tried again, if it is failing
	LastError       string
	LastErrorAt     int64
	LastDeliveredAt int64
}

// States are the states of all sinks, which Redis keeps. It is safe for concurrent use.
type States struct {
	redis redis.UniversalClient
	keys  rediskeys.Namespace
	store *group.Store
}

// NewStates returns the states in a Redis.
func NewStates(rdb redis.UniversalClient, keys rediskeys.Namespace) *States {
	return &States{rdb, keys, group.NewStore(group.Options{Redis: rdb, Keys: keys})}
}

// Read reads the state of a group's sink, which it must have.
func (s *States) Read(ctx context.Context, app *apps.App, g *apps.Group) (State, error) {
	fields, err := s.redis.HGetAll(ctx, s.keys.Sink(app.ID, g.Name)).Result()
	if err != nil {
		return State{}, err
	}
	n := func(field string) int64 { n, _ := strconv.ParseInt(fields[field], 10, 64); return n }
	state := State{Condition: OK, LastError: fields["error"], LastErrorAt: n("error_at"), LastDeliveredAt: n("delivered")}
	if is := Condition(fields["is"]); is != "" && fields["sink"] == g.Sink.Digest() {
		state.Condition, state.Since, state.RetryAt = is, n("since"), n("retry")
	}
	return state, nil
}

// Resume has nodes try a group's sink at once, if it is failing or stopped.
func (s *States) Resume(ctx context.Context, app *apps.App, g *apps.Group) error {
	if _, err := s.run(ctx, about{app.ID, g.Name, "", ""}, "resume"); err != nil {
		return err
	}
	s.store.Wake(ctx, app, g)
	return nil
}

// about is which sink a node tells or asks of, and who.
type about struct{ app, group, digest, who string }

func (s *States) run(ctx context.Context, a about, what string, args ...any) ([]any, error) {
	call := &redisconn.Call{
		Script: stateScript, Keys: []string{s.keys.Sink(a.app, a.group), s.keys.GroupBytes(a.app, a.group)},
		Args: append([]any{what, a.digest, a.who}, args...),
	}
	if err := redisconn.Exec(ctx, s.redis, []*redisconn.Call{call}); err != nil {
		return nil, err
	}
	reply, err := call.Reply.Slice()
	if err != nil || len(reply) == 0 {
		return nil, fmt.Errorf("state.lua returned %d values: %w", len(reply), err)
	}
	return reply, nil
}

// begin is called before a node delivers to a sink.
func (s *States) begin(ctx context.Context, a about) error {
	_, err := s.run(ctx, a, "begin")
	return err
}

// look is whether a sink takes messages.
type look struct {
	condition Condition
	try       bool          // it is failing, and the one that asks may try it
	wait      time.Duration // to the next look; 0: until something happens
	bytes     int64         // that the group takes
}

// look asks. A try is claimed for so long.
func (s *States) look(ctx context.Context, a about, claim time.Duration) (look, error) {
	reply, err := s.run(ctx, a, "look", claim.Milliseconds())
	if err != nil {
		return look{}, err
	}
	if len(reply) != 3 {
		return look{}, fmt.Errorf("state.lua returned %d values", len(reply))
	}
	is, _ := reply[0].(string)
	wait, _ := reply[1].(int64)
	bytes, _ := reply[2].(int64)
	l := look{Condition(is), is == "try", time.Duration(wait) * time.Millisecond, bytes}
	if l.try {
		l.condition = Failing
	}
	return l, nil
}

// works tells that the target answers, and whether it has taken messages; recovered, that it was
// failing, and this was the try.
func (s *States) works(ctx context.Context, a about, delivered bool) (recovered bool, err error) {
	return s.isOne(ctx, a, "works", flag(delivered))
}

// refused tells why the sink has refused a message.
func (s *States) refused(ctx context.Context, a about, why string) error {
	_, err := s.run(ctx, a, "refused", shortened(why))
	return err
}

// failed tells that the sink takes nothing now, and when it asks to be tried again (0: it does
// not say). progress says that it has taken some messages. news says that it was not known.
func (s *States) failed(ctx context.Context, a about, why string, after time.Duration, progress bool) (news bool, retry time.Duration, err error) {
	reply, err := s.run(ctx, a, "failed", shortened(why), after.Milliseconds(), flag(progress), rand.Float64())
	if err != nil || len(reply) != 2 {
		return false, 0, err
	}
	ms, _ := reply[1].(int64)
	return reply[0] == int64(1), time.Duration(ms) * time.Millisecond, nil
}

// unable tells that a node cannot make its target, and for how long messages have waited for it.
// The sink is failing when none has been delivered for as long as grace. news says that it is now.
func (s *States) unable(ctx context.Context, a about, why string, waited, grace time.Duration) (news bool, bytes int64, err error) {
	reply, err := s.run(ctx, a, "unable", shortened(why), waited.Milliseconds(), grace.Milliseconds())
	if err != nil || len(reply) != 2 {
		return false, 0, err
	}
	bytes, _ = reply[1].(int64)
	return reply[0] == int64(1), bytes, nil
}

// stopped tells that the sink wants nothing any more.
func (s *States) stopped(ctx context.Context, a about, why string) (news bool, err error) {
	return s.isOne(ctx, a, "stopped", shortened(why))
}

func (s *States) isOne(ctx context.Context, a about, what string, args ...any) (bool, error) {
	reply, err := s.run(ctx, a, what, args...)
	return err == nil && reply[0] == int64(1), err
}

func flag(is bool) string {
	if is {
		return "1"
	}
	return "0"
}

// maxErrorBytes bounds the text of an error that is kept.
const maxErrorBytes = 500

func shortened(text string) string {
	if len(text) > maxErrorBytes {
		text = text[:maxErrorBytes] + "…"
	}
	return strings.ToValidUTF8(text, "�")
}
