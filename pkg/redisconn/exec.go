package redisconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

// Call is one run of a Lua script within a shared round trip.
type Call struct {
	Script *Script
	Keys   []string
	Args   []any
	// Place, of a script without keys on a Redis Cluster: which of Args, from 0, has the slot
	// by which the script is sent to a master.
	Place int
	// Before: those of other slots run when this one has. On one server the order of the calls
	// is enough. If its master does not answer for beforePatience, the others run all the same,
	// and it is sent again until it has run, for a minute at most.
	Before bool
	// Reply holds the result after Exec.
	Reply *redis.Cmd
}

// Exec runs the calls in order in one round trip. A script that Redis does not
// know yet (after a restart or a failover) did not run; Exec sends it again
// whole, so it runs after the others. Each call's Reply has its own error; Exec returns the
// first of them.
//
// On a Redis Cluster each master gets its calls in order, all at the same time; what one
// call failed with says nothing of the others. A call never runs while its slot moves to
// another master: Exec sends it again until it has moved, for at most 1.5 s.
func Exec(ctx context.Context, rdb redis.UniversalClient, calls []*Call) error {
	return exec(ctx, rdb, calls, false)
}

// ExecInOrder is Exec for calls that may run twice. It sends all calls again that stand behind
// a script that Redis does not know, so that each runs after those before it.
func ExecInOrder(ctx context.Context, rdb redis.UniversalClient, calls []*Call) error {
	return exec(ctx, rdb, calls, true)
}

const (
	// beforePatience bounds a call that goes before others, and is the pause between tries of
	// one that they did not wait for. Of those there are maxBelated tries.
	beforePatience = 500 * time.Millisecond
	maxBelated     = 60
)

func exec(ctx context.Context, rdb redis.UniversalClient, calls []*Call, inOrder bool) error {
	if !IsCluster(rdb) || !slices.ContainsFunc(calls, isBefore) {
		return trip(ctx, rdb, calls, inOrder)
	}
	before, after := split(calls)
	limited, cancel := context.WithTimeout(ctx, beforePatience)
	err := trip(limited, rdb, before, inOrder)
	cancel()
	if err != nil && (refuses(err) || ctx.Err() != nil) {
		for _, c := range after {
			c.Reply = redis.NewCmd(ctx)
			c.Reply.SetErr(fmt.Errorf("%w: %w", errNotSent, err))
		}
		return err
	}
	if err == nil || len(after) == 0 {
		return cmp.Or(err, trip(ctx, rdb, after, inOrder))
	}
	belated := make([]*Call, len(before))
	for i, c := range before {
		copied := *c // the caller reads its reply
		belated[i] = &copied
	}
	go runBelated(context.WithoutCancel(ctx), rdb, belated)
	return trip(ctx, rdb, after, inOrder)
}

// runBelated runs calls that others have not waited for.
func runBelated(ctx context.Context, rdb redis.UniversalClient, calls []*Call) {
	for range maxBelated {
		time.Sleep(beforePatience)
		limited, cancel := context.WithTimeout(ctx, beforePatience)
		err := trip(limited, rdb, calls, true)
		cancel()
		if err == nil || refuses(err) || errors.Is(err, redis.ErrClosed) {
			return
		}
	}
}

func isBefore(c *Call) bool { return c.Before }

func split(calls []*Call) (before, after []*Call) {
	for _, c := range calls {
		if c.Before {
			before = append(before, c)
		} else {
			after = append(after, c)
		}
	}
	return before, after
}

// trip runs the calls in one round trip, and in another those that Redis does not know.
func trip(ctx context.Context, rdb redis.UniversalClient, calls []*Call, inOrder bool) error {
	if len(calls) == 0 {
		return nil
	}
	err := pipeline(ctx, rdb, calls, func(p redis.Pipeliner, c *Call) *redis.Cmd {
		return c.Script.For(rdb).EvalSha(ctx, p, c.keys(rdb), c.Args...)
	})
	if err == nil {
		return nil
	}
	var again []*Call
	for _, c := range calls {
		if redis.HasErrorPrefix(c.Reply.Err(), "NOSCRIPT") || inOrder && len(again) > 0 {
			again = append(again, c)
		}
	}
	if len(again) == 0 {
		return err
	}
	_ = pipeline(ctx, rdb, again, func(p redis.Pipeliner, c *Call) *redis.Cmd {
		return c.Script.For(rdb).Eval(ctx, p, c.keys(rdb), c.Args...)
	})
	for _, c := range calls {
		if err := c.Reply.Err(); err != nil {
			return err
		}
	}
	return nil
}

// evalArgs is how many arguments of EVALSHA precede those of a script without keys.
const evalArgs = 3

func pipeline(ctx context.Context, rdb redis.UniversalClient, calls []*Call, queue func(redis.Pipeliner, *Call) *redis.Cmd) error {
	p := rdb.Pipeline()
	for _, c := range calls {
		c.Reply = queue(p, c)
		if c.Place > 0 && len(c.Keys) == 0 {
			c.Reply.SetFirstKeyPos(int8(evalArgs + c.Place))
		}
	}
	_, err := p.Exec(ctx)
	return err
}

// keys are those that a script is given. While a slot moves, its keys lie on two masters, and
// a script could end in the middle when it comes to one that is not here. Redis Cluster runs
// no script then of which one key that it is told of is there and another is not, and one
// that never is is added to all; Script takes it out again.
func (c *Call) keys(rdb redis.UniversalClient) []string {
	if len(c.Keys) == 0 || !IsCluster(rdb) {
		return c.Keys
	}
	return append(c.Keys[:len(c.Keys):len(c.Keys)], rediskeys.AbsentKey(c.Keys[0]))
}

// Script is a Lua script in two variants. On one server, topics are those of PUBLISH; on a
// Redis Cluster those that have a slot are those of SPUBLISH.
type Script struct{ server, cluster *redis.Script }

// NewScript returns the script of a source, which is written for one server. The variant
// for a cluster has 'SPUBLISH' in place of 'PUBLISH', but for lines that end with
// "-- to all nodes". Lines that begin with "--cluster " are in that variant alone.
func NewScript(src string) *Script {
	var server, cluster strings.Builder
	cluster.WriteString("KEYS[#KEYS] = nil\n") // Call.keys
	for line := range strings.Lines(src) {
		if code, only := strings.CutPrefix(strings.TrimLeft(line, " "), "--cluster "); only {
			cluster.WriteString(code)
			continue
		}
		server.WriteString(line)
		if !strings.HasSuffix(strings.TrimRight(line, "\n"), "-- to all nodes") {
			line = strings.ReplaceAll(line, "'PUBLISH'", "'SPUBLISH'")
		}
		cluster.WriteString(line)
	}
	return &Script{redis.NewScript(server.String()), redis.NewScript(cluster.String())}
}

// For is the variant for the server, or cluster, that rdb is a client of.
func (s *Script) For(rdb redis.UniversalClient) *redis.Script {
	if IsCluster(rdb) {
		return s.cluster
	}
	return s.server
}

// Clock reads the clock of the Redis that has a key, within a pipeline.
func Clock(ctx context.Context, rdb redis.UniversalClient, p redis.Pipeliner, key string) *redis.TimeCmd {
	if !IsCluster(rdb) {
		return p.Time(ctx)
	}
	cmd := redis.NewTimeCmd(ctx, "eval", "return redis.call('TIME')", 1, key)
	_ = p.Process(ctx, cmd) // the error is the pipeline's
	return cmd
}

// Publish publishes a message to a topic that has a slot.
func Publish(ctx context.Context, rdb redis.UniversalClient, topic string, payload any) error {
	if IsCluster(rdb) {
		return rdb.SPublish(ctx, topic, payload).Err()
	}
	return rdb.Publish(ctx, topic, payload).Err()
}
