package channel

import (
	"strings"
	"testing"
)

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"", "a", "devices/*/events", "**", `a\*b\\`, "a/../b", "a\x00", "\xff", "é*", strings.Repeat("*", 257), strings.Repeat("*a", 16), strings.Repeat("*a", 17)} {
		f.Add(s)
	}
	everything := mustCompile(f, "**")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Compile(s)
		if err == nil && len(p.gaps) > MaxWildcards {
			t.Fatalf("%q has %d wildcards", s, len(p.gaps))
		}
		if nameErr := ValidateName(s); (nameErr == nil) != (err == nil && !IsPattern(s)) {
			t.Fatalf("%q as a name: %v; as a pattern: %v; IsPattern: %v", s, nameErr, err, IsPattern(s))
		}
		if err != nil {
			if len(err.Error()) > 100 {
				t.Errorf("the error repeats what was sent: %v", err)
			}
			return
		}
		if p.String() != s {
			t.Errorf("Compile(%q).String() = %q", s, p)
		}
		if p.isPlain() == IsPattern(s) {
			t.Errorf("%q: IsPattern %v, but plain %v", s, IsPattern(s), p.isPlain())
		}
		if p.isPlain() && !p.Match(s) {
			t.Errorf("the name %q does not match itself", s)
		}
		for i, gap := range p.gaps {
			if i < len(p.gaps)-1 && gap.literal == "" {
				t.Errorf("%q has two wildcards side by side", s)
			}
		}
		if !p.Covers(p) || !everything.Covers(p) {
			t.Errorf("%q is not covered by itself and by **", s)
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("devices/*/events", "devices/cam-1/events")
	f.Add("devices/**", "devices/cam-1/a/b")
	f.Add("**a*b/*c", "x/aab/c")
	f.Add(`\*\\*`, `*\a`)
	f.Add("*é*", "aéb")
	for _, pair := range hostilePairs() {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if validate("pattern", pattern) != nil || ValidateName(name) != nil {
			return
		}
		p := parse(pattern)
		if want := regexpFor(pattern).MatchString(name); p.Match(name) != want {
			t.Fatalf("Compile(%q).Match(%q) = %v, want %v", pattern, name, !want, want)
		}
		checkWork(t, p, name)
		// The naive Redis matcher takes exponential time.
		if glob := p.RedisGlob(); p.Match(name) && len(p.gaps) <= 4 && !redisMatches(glob, name) {
			t.Errorf("%q matches %q, its glob %q does not", pattern, name, glob)
		}
	})
}

func FuzzCovers(f *testing.F) {
	f.Add("devices/**", "devices/*/events", "devices/cam-1/events")
	f.Add("**/*/x", "**/a/**/x", "a/b/x")
	f.Add("*a*", "**a", "b/a")
	f.Add(`a\\*`, `a\*`, `a\*`)
	f.Add("**a*"+strings.Repeat("/*", 30)+"/**", strings.Repeat("/**a", 12), "/a")
	f.Fuzz(func(t *testing.T, first, second, name string) {
		if validate("pattern", first) != nil || validate("pattern", second) != nil {
			return
		}
		p, q := parse(first), parse(second)
		effort := MaxEffort
		covered := CoveredBy([]*Pattern{p}, q, &effort)
		work := int(MaxEffort - effort)
		if work > maxCoverEffort+3*MaxBytes {
			t.Errorf("Compile(%q).Covers(%q) is %d units of work", first, second, work)
		}
		if covered && q.Match(name) && !p.Match(name) {
			t.Errorf("%q covers %q, but only the second matches %q", first, second, name)
		}
		if len(q.gaps) > 4 {
			return
		}
		counter := counterexample(p, q)
		if covered && counter != "" {
			t.Errorf("%q covers %q, but only the second matches %q", first, second, counter)
		}
		if !covered && counter == "" && work <= maxCoverEffort {
			t.Errorf("%q does not cover %q, and no name shows it", first, second)
		}
	})
}
