package channel

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		// The table of protocol §2.
		{"devices/*/events", []string{"devices/cam-1/events"}, []string{"devices/cam-1/a/b", "devices/"}},
		{"devices/*", []string{"devices/"}, []string{"devices/cam-1/events", "devices/cam-1/a/b"}},
		{"devices/**", []string{"devices/cam-1/events", "devices/cam-1/a/b", "devices/"}, []string{"devices", "fleets/a"}},
		{"**", []string{"devices/cam-1/events", "devices/cam-1/a/b", "devices/"}, nil},

		{"devices/cam-1", []string{"devices/cam-1"}, []string{"devices/cam-10", "devices/cam-", "Devices/cam-1", "devices/cam-1/"}},
		{"*", []string{"a", "geräte"}, []string{"/", "a/b"}},
		{"***", []string{"a/b/c"}, nil},
		{"a*", []string{"a", "ab"}, []string{"ba", "a/", "A"}},
		{"*/events", []string{"/events", "a/events"}, []string{"a/b/events", "events", "a/events/b"}},
		{"**/events", []string{"/events", "a/b/events"}, []string{"events", "a/eventsx"}},
		{"a/**/b", []string{"a//b", "a/x/b", "a/x/y/b"}, []string{"a/b", "a/x/bc"}},
		{"a/*/*/b", []string{"a/x/y/b", "a///b"}, []string{"a/x/b", "a/x/y/z/b"}},
		{"a**b*c", []string{"abc", "a/b/bxc"}, []string{"ab/c", "a/b/b/c/"}},
		{"**a*", []string{"a", "a/a", "x/a"}, []string{"a/", "a/b"}},
		{"cam-*-*", []string{"cam-1-2", "cam---"}, []string{"cam-1", "cam-1/2-3"}},
		{"*é*", []string{"é", "aéb", "éé"}, []string{"e", "è", "é/"}},
		{"aa*aa", []string{"aaaa", "aaaaa"}, []string{"aa", "aaa"}},

		// Escapes.
		{`a\*b`, []string{"a*b", `a\*b`}, []string{"axb", "a**b", `a\\*b`}},
		{`a\\b`, []string{`a\b`, `a\\b`}, []string{"ab", `a\\\b`}},
		{`a\b`, []string{`a\b`}, []string{"ab", `a\\b`}},
		{`a\\*`, []string{`a\`, `a\b`, `a\\`}, []string{"a", "a*", `a\b/`}},
		{`\**`, []string{"*", "*a"}, []string{"", "a", "a*"}},
		{`\***`, []string{"*", "*a/b"}, []string{"a/b"}},
		{`*\*`, []string{"*", "a*", "a**"}, []string{"a", "a/*"}},
		{`a\`, []string{`a\`}, []string{"a", `a\\`}},
	} {
		p := mustCompile(t, tt.pattern)
		for _, name := range tt.yes {
			if !p.Match(name) {
				t.Errorf("%q does not match %q, and should", tt.pattern, name)
			}
		}
		for _, name := range tt.no {
			if p.Match(name) {
				t.Errorf("%q matches %q, and should not", tt.pattern, name)
			}
		}
	}
}

func TestPatternIsReadBackAsGiven(t *testing.T) {
	for _, s := range []string{"a", "a/***", `\*\\*`, `a\`} {
		if got := mustCompile(t, s).String(); got != s {
			t.Errorf("Compile(%q).String() = %q", s, got)
		}
	}
}

// A name is a pattern that matches it, whatever escapes it contains: a token for a channel opens it.
func TestNameMatchesItself(t *testing.T) {
	names := 0
	for _, s := range words(`ab/*\`, 5) {
		if ValidateName(s) != nil {
			continue
		}
		names++
		if p := mustCompile(t, s); !p.Match(s) || !p.Covers(p) {
			t.Errorf("the name %q does not match or cover itself", s)
		}
	}
	if names < 1000 {
		t.Fatalf("only %d names were tried", names)
	}
}

func TestMatchAgainstNaive(t *testing.T) {
	names := words(`ab/*\`, 4)
	yes, pairs := 0, 0
	for _, p := range mustCompileAll(t, words(`a/*\`, 5)) {
		for _, name := range names {
			want := naiveMatch(p.String(), name)
			if got := p.Match(name); got != want {
				t.Fatalf("Compile(%q).Match(%q) = %v, want %v", p, name, got, want)
			}
			pairs++
			if want {
				yes++
			}
		}
	}
	t.Logf("%d of %d pairs match", yes, pairs)
}

// Longer patterns with many wildcards, against Go's regular expressions, on names that are made to match
// or nearly so.
func TestMatchAgainstRegexp(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	yes, no := 0, 0
	for range 1000 {
		p := mustCompile(t, randomPattern(random, 3+random.IntN(20)))
		re := regexpFor(p.String())
		for range 20 {
			name := nameFor(random, p)
			want := re.MatchString(name)
			if got := p.Match(name); got != want {
				t.Fatalf("Compile(%q).Match(%q) = %v, want %v", p, name, got, want)
			}
			checkWork(t, p, name)
			if want {
				yes++
			} else {
				no++
			}
		}
	}
	if yes < 5000 || no < 5000 {
		t.Errorf("%d matches and %d mismatches were tried, too few of one", yes, no)
	}
}

// randomPattern returns n parts of a pattern, many of them wildcards.
func randomPattern(random *rand.Rand, n int) string {
	parts := []string{"*", "*", "**", "a", "a", "b", "ab", "/", "/", "/a/", "é", `\*`, `\\`}
	var s strings.Builder
	for range n {
		s.WriteString(parts[random.IntN(len(parts))])
	}
	return s.String()
}

// nameFor fills p's gaps at random, and then spoils every second name in one byte.
func nameFor(random *rand.Rand, p *Pattern) string {
	run := func(alphabet string) string {
		b := make([]byte, random.IntN(4))
		for i := range b {
			b[i] = alphabet[random.IntN(len(alphabet))]
		}
		return string(b)
	}
	name := p.prefix
	for _, gap := range p.gaps {
		if gap.deep {
			name += run("ab/")
		} else {
			name += run("ab*")
		}
		name += gap.literal
	}
	if name != "" && random.IntN(2) == 0 {
		i := random.IntN(len(name))
		name = name[:i] + run("ab/") + name[i+1:]
	}
	return strings.ToValidUTF8(name, "")
}

// hostilePairs are patterns and names built so that a backtracking matcher tries all ways to divide the
// name among the wildcards.
func hostilePairs() map[string][2]string {
	fill := func(start, unit, end string) string {
		return start + strings.Repeat(unit, (MaxBytes-len(start)-len(end))/len(unit)) + end
	}
	as := fill("", "a", "")
	return map[string][2]string{
		"a star after every letter":           {fill("", "a*", "b"), fill("", "a", "cb")},
		"a deep star after every letter":      {fill("", "a**", "b"), fill("", "a", "cb")},
		"stars behind one deep star":          {fill("**", "a*", "b/c"), fill("", "a", "/b/c")},
		"the last letter behind a slash":      {fill("**", "a*", "c*b"), fill("", "a", "/c/b")},
		"levels of stars behind a deep star":  {fill("**", "/a*", "/b"), fill("", "/a", "/x/b")},
		"levels, the last literal far away":   {fill("**", "/a*", "/b*c"), fill("", "/a", "/b/c")},
		"half the levels":                     {fill("**", "/a*", "/b*c")[:128] + "/b*c", fill("", "/a", "/b/c")},
		"stars between slashes":               {fill("", "*/", "b"), fill("", "a/", "a")},
		"deep and single stars in turn":       {fill("", "**a*a", "b*c"), fill("", "a", "b/c")},
		"deep stars between levels":           {fill("", "**/*a", "/*b"), fill("", "a/", "/c/b")},
		"long literals that nearly match":     {"**" + as[:80] + "*" + as[:80] + "b*c", as[:200] + "b/c"},
		"short literals, then the near match": {"**a*" + as[:100] + "*b*c", as[:150] + "b/" + as[:100] + "c"},
	}
}

// allowedHostilePairs are those of hostilePairs, and what becomes of the others' patterns when they are cut down to
// what Compile takes.
func allowedHostilePairs() map[string][2]string {
	pairs := hostilePairs()
	for title, pair := range pairs {
		if p := parse(pair[0]); len(p.gaps) > MaxWildcards {
			allowed := "**" + p.gaps[0].literal
			for _, gap := range p.gaps[len(p.gaps)-MaxWildcards+1:] {
				allowed += "*" + gap.literal
			}
			pairs[title] = [2]string{allowed, pair[1]}
		}
	}
	return pairs
}

// The work that a match may be is bounded, whatever the pattern and the name.
func TestMatchHostile(t *testing.T) {
	simulated := 0
	for title, pair := range hostilePairs() {
		t.Run(title, func(t *testing.T) {
			p, name := mustCompile(t, pair[0]), pair[1]
			if err := ValidateName(name); err != nil {
				t.Fatal(err)
			}
			if want := regexpFor(p.String()).MatchString(name); p.Match(name) != want {
				t.Errorf("Match = %v, want %v", !want, want)
			}
			if checkWork(t, p, name) > simulation {
				simulated++
			}
		})
	}
	if simulated < 5 {
		t.Errorf("only %d attacks are too much for the search", simulated)
	}
}

func checkWork(t *testing.T, p *Pattern, name string) int {
	t.Helper()
	_, work := p.match(name)
	if bound := (maxSearch+1+MaxBytes/16)*lookup + simulation; work > bound {
		t.Errorf("Compile(%q).Match(%q) is %d units of work, more than %d", p, name, work, bound)
	}
	return work
}

// What search finds out, simulate finds out too.
func TestSimulateAgainstSearch(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	yes, no := 0, 0
	for range 20000 {
		p := mustCompile(t, randomPattern(random, 4+random.IntN(12)))
		if p.isPlain() {
			continue
		}
		name := nameFor(random, p)
		if random.IntN(4) == 0 { // so that the name's end, and a word's, come to lie everywhere
			name = strings.Repeat("b/", random.IntN(40)) + name
		}
		if len(name) > MaxBytes || len(name) < len(p.prefix)+len(p.suffix()) || !strings.HasPrefix(name, p.prefix) || !strings.HasSuffix(name, p.suffix()) {
			continue
		}
		middle := name[len(p.prefix) : len(name)-len(p.suffix())]
		want, lookups := p.search(middle)
		if lookups > maxSearch {
			want = regexpFor(p.String()).MatchString(name)
		}
		if got := p.simulate(middle); got != want {
			t.Fatalf("Compile(%q).simulate(%q) = %v, want %v", p, middle, got, want)
		}
		if want {
			yes++
		} else {
			no++
		}
	}
	if yes < 2000 || no < 2000 {
		t.Errorf("%d matches and %d mismatches were tried, too few of one", yes, no)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	for _, tt := range [][2]string{
		{"devices/camera-001/events", "devices/camera-001/events"},
		{"devices/**", "devices/camera-001/events"},
		{"devices/*/events", "devices/camera-001/events"},
		{"fleets/*/devices/*/events", "fleets/f1/devices/camera-001/events"},
		{"**/a*b/**c", "fleets/f1/a/axb/events/c"},
		hostilePairs()["levels, the last literal far away"],
		hostilePairs()["half the levels"],
	} {
		p := mustCompile(t, tt[0])
		if n := testing.AllocsPerRun(100, func() { p.Match(tt[1]) }); n != 0 {
			t.Errorf("Compile(%q).Match allocates %v times", tt[0], n)
		}
	}
}
