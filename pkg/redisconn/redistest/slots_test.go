package redistest

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// The hook that watches over scripts must be able to fail.
func TestScriptInOneSlot(t *testing.T) {
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
		"no key":               {script.EvalSha(ctx, p, nil, "a", "b"), false},
		"no script":            {p.Del(ctx, "a", "b", "c", "d"), false},
	} {
		if err := ScriptInOneSlot(test.cmd.Args()); (err != nil) != test.wrong || err != nil && !strings.Contains(err.Error(), "two slots") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.Discard()
}
