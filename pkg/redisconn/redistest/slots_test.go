package redistest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// The hook that watches over slots must be able to fail.
func TestInOneSlot(t *testing.T) {
	ctx := context.Background()
	script := redis.NewScript("return 1")
	_, rdb := Embedded(t)
	p := rdb.Pipeline()
	for name, test := range map[string]struct {
		cmd   redis.Cmder
		wrong bool
	}{
		"one slot":             {script.EvalSha(ctx, p, []string{"{a}1", "{a}2"}, "{b}"), false},
		"two slots":            {script.EvalSha(ctx, p, []string{"{a}1", "{b}2"}), true},
		"two slots, by source": {script.Eval(ctx, p, []string{"{a}1", "{a}2", "c"}), true},
		"publishing":           {script.EvalSha(ctx, p, []string{"fw:{a}:messages:2026-01", "fw:{a}:sent:x", "fw:{a.123}:last:c"}), false},
		"creating":             {script.EvalSha(ctx, p, []string{"fw:{a.123}:command:", "fw:{a.123}:due", "fw:due:{index}", "fw:{a}:messages:2026-01", "fw:{a}:rest:k"}), false},
		"creating elsewhere":   {script.EvalSha(ctx, p, []string{"fw:{a.123}:command:", "fw:{a.124}:due"}), true},
		"no key":               {script.EvalSha(ctx, p, nil, "a", "b"), false},
		"deletes":              {p.Del(ctx, "{a}1", "{b}1"), true},
		"deletes, in one slot": {p.Del(ctx, "{a}1", "{a}2"), false},
		"reads":                {p.MGet(ctx, "{a}1", "{a}2", "b"), true},
		"writes":               {p.MSet(ctx, "{a}1", "b", "{a}2", "c"), false},
		"writes, in two":       {p.MSet(ctx, "{a}1", "b", "c", "d"), true},
		"waits":                {p.BLPop(ctx, time.Second, "{a}1", "{a}2"), false},
		"waits, in two":        {p.BLPop(ctx, time.Second, "{a}1", "b"), true},
		"streams":              {p.XRead(ctx, &redis.XReadArgs{Streams: []string{"{a}1", "b", "0", "0"}}), true},
		"one stream":           {p.XRead(ctx, &redis.XReadArgs{Streams: []string{"a", "0"}}), false},
		"moves":                {p.SMove(ctx, "a", "b", "c"), true},
		"adds up":              {p.ZUnionStore(ctx, "a", &redis.ZStore{Keys: []string{"{a}1", "b"}}), true},
		"one key":              {p.HSet(ctx, "a", "b", "c"), false},
		"publishes":            {p.Publish(ctx, "a", "b"), false},
	} {
		if err := inOneSlot(test.cmd.Args()); (err != nil) != test.wrong || err != nil && !strings.Contains(err.Error(), "two slots") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.Discard()
	if err := inOneSlot([]any{"multi"}, []any{"set", "a", "1"}, []any{"set", "b", "1"}, []any{"exec"}); err == nil {
		t.Error("a transaction in two slots passes")
	}
	if err := inOneSlot([]any{"multi"}, []any{"set", "{a}1", "1"}, []any{"get", "{a}2"}, []any{"exec"}); err != nil {
		t.Errorf("a transaction in one slot: %v", err)
	}
}
