package redistest

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

// oneSlot is a hook that fails the test if a script gets keys that a Redis Cluster
// would not have in one slot.
type oneSlot struct{ t testing.TB }

func (h oneSlot) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h oneSlot) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.check(cmd)
		return next(ctx, cmd)
	}
}

func (h oneSlot) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			h.check(cmd)
		}
		return next(ctx, cmds)
	}
}

func (h oneSlot) check(cmd redis.Cmder) {
	if err := ScriptInOneSlot(cmd.Args()); err != nil {
		h.t.Error(err)
	}
}

// ScriptInOneSlot says what keys of a call of a script lie in different slots. For other
// commands it is nil.
func ScriptInOneSlot(args []any) error {
	if len(args) < 4 {
		return nil
	}
	name, _ := args[0].(string)
	n, isNumber := args[2].(int)
	if !strings.HasPrefix(strings.ToLower(name), "eval") || !isNumber {
		return nil
	}
	first := fmt.Sprint(args[3])
	if countsAndPublishes(first) {
		return nil
	}
	for _, key := range args[3 : 3+n] {
		if rediskeys.Slot(fmt.Sprint(key)) != rediskeys.Slot(first) {
			return fmt.Errorf("a script has keys in two slots, which a Redis Cluster refuses: %q and %q", first, key)
		}
	}
	return nil
}

// countsAndPublishes says, by its first key, that a script is that of pkg/publish/send. On
// one server it counts a message in the app's slot, and remembers it in the channel's slot, in
// one step. On a Redis Cluster these have to be two steps, and its Lua is written so that
// they can be: admit.lua and send.lua.
func countsAndPublishes(first string) bool {
	return publishes.MatchString(first)
}

var publishes = regexp.MustCompile(`^[a-z0-9_-]+:\{[A-Za-z0-9_-]+\}:messages:`)
