package redisconn

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/batch"
)

// maxShared is how many commands of different pipelines share a round trip at most.
const maxShared = 1024

// pipelines is a hook that has pipelines share round trips, whoever made them. Most of
// what a small pipeline costs, here and in Redis, is the round trip. The AutoPipeliner of
// go-redis does not do that: it shares round trips among single commands, and sends
// pipelines by themselves to keep the callers' deadlines.
type pipelines struct {
	trips batch.Batcher[queued]
	// ofNode: the pipelines are shares of those of a cluster's client, which would take an
	// error of the hook for that of all commands. Each has its own.
	ofNode bool
}

// queued is a pipeline that waits for its round trip.
type queued struct {
	cmds []redis.Cmder
	next redis.ProcessPipelineHook
}

func newPipelines() *pipelines {
	return &pipelines{trips: batch.Batcher[queued]{
		Run:     runPipelines,
		Most:    maxShared,
		Size:    func(q queued) int { return len(q.cmds) },
		Timeout: ioTimeout,
	}}
}

// goesAlone are the first commands of pipelines that have a round trip of their own:
// transactions, and what sets a connection up, which may happen within a round trip
// and would wait for it for ever.
var goesAlone = map[string]bool{"multi": true, "hello": true, "auth": true, "select": true, "readonly": true, "client": true}

func (s *pipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (s *pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (s *pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) > 0 && goesAlone[cmds[0].Name()] || ctx.Value(alone{}) != nil {
			return next(ctx, cmds)
		}
		if err := s.trips.Do(ctx, queued{cmds, next}); err != nil {
			if !errors.Is(err, batch.ErrBroken) {
				err = fmt.Errorf("%w: %w", errNotSent, err)
			}
			failAll(cmds, err)
		}
		if s.ofNode {
			return nil
		}
		return firstError(cmds)
	}
}

type alone struct{}

// Alone has a pipeline with this context share no round trip, for one that must
// not wait for another's: Redis may have stopped answering that one.
func Alone(ctx context.Context) context.Context { return context.WithValue(ctx, alone{}, true) }

func runPipelines(ctx context.Context, all []queued) error {
	cmds := all[0].cmds
	if len(all) > 1 {
		size := 0
		for _, q := range all {
			size += len(q.cmds)
		}
		cmds = make([]redis.Cmder, 0, size)
		for _, q := range all {
			cmds = append(cmds, q.cmds...)
		}
	}
	err := all[0].next(ctx, cmds)
	if err != nil && firstError(cmds) == nil { // a hook returned it, and left it with no command
		failAll(cmds, err)
	}
	return err
}

func failAll(cmds []redis.Cmder, err error) {
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
}

// firstError is what a pipeline by itself returns.
func firstError(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return err
		}
	}
	return nil
}
