package redistest

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

// oneSlot is a hook that fails the test if a script, another command or a transaction gets
// keys that a Redis Cluster would not have in one slot.
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
		if len(cmds) > 0 && cmds[0].Name() == "multi" {
			h.check(cmds...)
		}
		for _, cmd := range cmds {
			h.check(cmd)
		}
		return next(ctx, cmds)
	}
}

func (h oneSlot) check(cmds ...redis.Cmder) {
	all := make([][]any, len(cmds))
	for i, cmd := range cmds {
		all[i] = cmd.Args()
	}
	if err := inOneSlot(all...); err != nil {
		h.t.Error(err)
	}
}

// inOneSlot says what keys of a command, or of several that make a transaction, lie in
// different slots.
func inOneSlot(cmds ...[]any) error {
	var all []string
	for _, args := range cmds {
		all = append(all, keysOf(args)...)
	}
	if len(all) == 0 || countsAndPublishes(all[0]) {
		return nil
	}
	creates := len(all) > 0 && createsCommands.MatchString(all[0])
	for _, key := range all {
		if creates && admits.MatchString(key) {
			continue
		}
		if rediskeys.Slot(key) != rediskeys.Slot(all[0]) {
			return fmt.Errorf("%v has keys in two slots, which a Redis Cluster refuses: %q and %q", cmds[0][0], all[0], key)
		}
	}
	return nil
}

// Commands of which all arguments are keys, those of which the last is none, and those of
// which the first two are; with a number, the keys follow it.
var (
	keysAlone = []string{"del", "unlink", "exists", "touch", "mget", "watch", "sunion", "sinter", "sdiff", "sunionstore", "sinterstore", "sdiffstore", "pfcount", "pfmerge"}
	keysFirst = []string{"blpop", "brpop", "bzpopmin", "bzpopmax"}
	twoKeys   = []string{"rename", "renamenx", "smove", "lmove", "blmove", "rpoplpush", "brpoplpush", "copy", "zrangestore"}
	numbered  = map[string]int{"zunion": 1, "zinter": 1, "zdiff": 1, "sintercard": 1, "zunionstore": 2, "zinterstore": 2, "zdiffstore": 2}
	keyless   = []string{"multi", "exec", "ping", "time", "info", "hello", "auth", "client", "cluster", "config", "script", "select", "publish", "wait", "keys", "scan", "dbsize", "flushall", "acl", "debug", "command", "pubsub", "save", "asking", "readonly", "psync", "subscribe", "psubscribe", "migrate", "replicaof", "failover", "role", "sentinel", "memory", "shutdown"}
)

// keysOf are the keys of a command. It looks at no other argument, so that benchmarks are of
// what they are of.
func keysOf(args []any) []string {
	name := strings.ToLower(fmt.Sprint(args[0]))
	from := func(number int) []string { // keys that a number precedes
		if len(args) <= number {
			return nil
		}
		n := 0
		_, _ = fmt.Sscan(fmt.Sprint(args[number]), &n)
		return texts(args[number+1 : min(len(args), number+1+n)])
	}
	switch {
	case len(args) < 2 || slices.Contains(keyless, name):
		return nil
	case strings.HasPrefix(name, "eval") || strings.HasPrefix(name, "fcall"):
		return from(2)
	case slices.Contains(keysAlone, name):
		return texts(args[1:])
	case slices.Contains(keysFirst, name):
		return texts(args[1 : len(args)-1])
	case slices.Contains(twoKeys, name):
		return texts(args[1:min(3, len(args))])
	case numbered[name] == 1:
		return from(1)
	case numbered[name] == 2:
		return append(texts(args[1:2]), from(2)...)
	case name == "mset" || name == "msetnx":
		var keys []string
		for i := 1; i < len(args); i += 2 {
			keys = append(keys, fmt.Sprint(args[i]))
		}
		return keys
	case name == "xread" || name == "xreadgroup":
		all := texts(args)
		streams := all[slices.IndexFunc(all, func(s string) bool { return strings.EqualFold(s, "streams") })+1:]
		return streams[:len(streams)/2]
	default:
		return texts(args[1:2])
	}
}

func texts(args []any) []string {
	all := make([]string, len(args))
	for i, arg := range args {
		all[i] = fmt.Sprint(arg)
	}
	return all
}

// countsAndPublishes says, by its first key, that a script is that of pkg/publish/send for one
// server. It counts a message in the app's slot, and remembers it in the channel's slot, in
// one step. On a Redis Cluster these are two steps.
func countsAndPublishes(first string) bool {
	return publishes.MatchString(first)
}

var publishes = regexp.MustCompile(`^[a-z0-9_-]+:\{[A-Za-z0-9_-]+\}:messages:`)

// On one server, the script of pkg/command that creates a command also counts it in the app's
// slot, and touches the index of deadlines. On a Redis Cluster these are three steps.
var (
	createsCommands = regexp.MustCompile(`^[a-z0-9_-]+:\{[A-Za-z0-9_-]+\.[0-9a-f]+\}:command:$`)
	admits          = regexp.MustCompile(`^[a-z0-9_-]+:(\{[A-Za-z0-9_-]+\}:(messages|rest):|due:\{index\})`)
)
