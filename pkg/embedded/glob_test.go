package embedded_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/embedded"
	"fleetwire/pkg/redisconn/redistest"
)

// TestGlobsAreThoseOfRedis compares with KEYS, whose globs are those of PSUBSCRIBE.
func TestGlobsAreThoseOfRedis(t *testing.T) {
	rdb := redistest.Start(t).Client()
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(letters string, most int) string {
		b := make([]byte, rng.IntN(most+1))
		for i := range b {
			b[i] = letters[rng.IntN(len(letters))]
		}
		return string(b)
	}
	names := rdb.Pipeline()
	for range 300 {
		names.Set(t.Context(), "a"+random(`abc*?[]^-\/`, 5), "", 0)
		names.Set(t.Context(), random(`abc*?[]^-\/`, 5)+"b", "", 0)
	}
	if _, err := names.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	globs := []string{"", "*", "**", "?", "[", "[]", "[^", "[^]", "[a", "[a-", "[a-c", "[c-a]", `[\]]`, `[\a-c]`, `[a-\]`, `\`, `a\`, `\*`, `*\`, "[^a-b]*", "*a*b*"}
	for range 3000 {
		globs = append(globs, random(`aabc*?[]^-\`, 8))
	}
	all, err := rdb.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	pipeline := rdb.Pipeline()
	matched := make([]*redis.StringSliceCmd, len(globs))
	for i, glob := range globs {
		matched[i] = pipeline.Keys(t.Context(), glob)
	}
	if _, err := pipeline.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, glob := range globs {
		want := map[string]bool{}
		for _, name := range matched[i].Val() {
			want[name] = true
		}
		for _, name := range all {
			if got := embedded.MatchGlob(glob, name); got != want[name] {
				t.Errorf("%q matches %q: %v, want %v", glob, name, got, want[name])
			}
		}
	}
}

// TestStarsTakeNoTime: a matcher that tries every split of the name would not end.
func TestStarsTakeNoTime(t *testing.T) {
	if embedded.MatchGlob(strings.Repeat("a*", 200)+"b", strings.Repeat("a", 10_000)) {
		t.Error("a name without b is matched")
	}
}
