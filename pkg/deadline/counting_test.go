package deadline

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// counting counts the commands that a client sends.
type counting struct{ sent *int }

func (counting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		*c.sent++
		return next(ctx, cmd)
	}
}

func (c counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		*c.sent += len(cmds)
		return next(ctx, cmds)
	}
}
