package channel

import (
	"math/rand/v2"
	"testing"
)

func TestRedisGlob(t *testing.T) {
	for pattern, want := range map[string]string{
		"devices/camera-001":  "devices/camera-001",
		"devices/*/events":    "devices/*/events",
		"devices/**":          "devices/*",
		"**":                  "*",
		"***a*":               "*a*",
		"a?b[c]d^e-f{g}!":     `a\?b\[c]d^e-f{g}!`,
		`*\*`:                 `*\*`,
		`\**\\*`:              `\**[\\]*`,
		`a\b`:                 `a[\\]b`,
		`a\`:                  `a[\\]`,
		`C:\Eve(*`:            `C:[\\]Eve(*`,
		"geräte/*":            "geräte/*",
		"a/*/b/*/c/*/d":       "a/*/b/*/c/*/d",
		"a/*/b/*/c/*/d/**/e*": "a/*",
		"*/a/*/b/*/c/*/d[":    `*/d\[`,
		`a\*b\*c\*d\*e`:       "a*e",
		`\*`:                  `*`,
		`a\*b\\c\?`:           `a*b*c[\\]\?`,
		"h[^e]llo/[a-z]/[\\]": `h\[^e]llo/\[a-z]/\[[\\]]`,
	} {
		if got := mustCompile(t, pattern).RedisGlob(); got != want {
			t.Errorf("Compile(%q).RedisGlob() = %q, want %q", pattern, got, want)
		}
	}
}

// Whatever the pattern matches comes through its glob. Nothing else does if stars were all that differed.
func TestRedisGlobMatchesAll(t *testing.T) {
	names := words(`a/[?\*`, 4)
	patterns := append(words(`a/*\`, 4), words(`a*[]?^\-`, 3)...)
	yes := 0
	for _, p := range mustCompileAll(t, patterns) {
		glob := p.RedisGlob()
		for _, name := range names {
			if p.Match(name) {
				yes++
				if !redisMatches(glob, name) {
					t.Fatalf("%q matches %q, its glob %q does not", p, name, glob)
				}
			}
		}
		if p.isPlain() && p.prefix == p.source {
			for _, name := range names {
				if name != p.source && redisMatches(glob, name) {
					t.Fatalf("the glob %q of the plain pattern %q matches %q", glob, p, name)
				}
			}
		}
	}
	if yes < 10000 {
		t.Errorf("only %d pairs match", yes)
	}
}

func TestRedisGlobMatchesAllLong(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	yes := 0
	for range 5000 {
		p := mustCompile(t, randomPattern(random, 1+random.IntN(10)))
		for range 5 {
			if name := nameFor(random, p); p.Match(name) {
				yes++
				if glob := p.RedisGlob(); !redisMatches(glob, name) {
					t.Fatalf("%q matches %q, its glob %q does not", p, name, glob)
				}
			}
		}
	}
	if yes < 5000 {
		t.Errorf("only %d pairs match", yes)
	}
}
