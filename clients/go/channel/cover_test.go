package channel

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		p       string
		yes, no []string
	}{
		{"devices/**", []string{"devices/*/events", "devices/*", "devices/**", "devices/a", "devices/", "devices/**/x", "devices/***"},
			[]string{"devices", "devices**", "**", "fleets/*", "device*/a"}},
		{"devices/*", []string{"devices/a", "devices/cam-*", "devices/*a*"},
			[]string{"devices/*/events", "devices/**", "devices/*/", "devices*"}},
		{"**", []string{"*", "**", "a", "/", "**/a/**"}, nil},
		{"*", []string{"*", "a", "a*b"}, []string{"**", "a/b", "*/*", "**a"}},
		{"a", []string{"a"}, []string{"b", "a*", "*"}},
		{"a*", []string{"a", "a*", "ab", "a*b", "aa*"}, []string{"*", "*a", "a**"}},
		{"*a*", []string{"a", "a*", "*a", "*a*a*", "ba"}, []string{"*", "**a", "*/a"}},
		{"*a*a*", []string{"aa", "*a*ba"}, []string{"*a*", "a"}},
		{"a**", []string{"a/**", "a*/b", "a*"}, []string{"**a", "*"}},
		{"**/**", []string{"*/*", "/", "**/", "*/**/*"}, []string{"**", "*", "a"}},
		{"*/**", []string{"**/*", "**/**", "/**"}, []string{"**"}},
		{"**/*/x", []string{"**/*/x", "**/a/*/x", "*/*/x", "**/**/x"}, []string{"**/x", "**x"}},
		{"**a**b**", []string{"**a*b**", "*a/b", "**b**a**b**"}, []string{"**b**a**"}},
		{"*/a/**/b", []string{"*/a/*/b", "x/a/**/c/b", "*/a/**/*/b"}, []string{"**/a/**/b", "*/a/b"}},
		{"**/a/*/*/*/**", []string{strings.Repeat("**/a/", 12) + "**"}, []string{strings.Repeat("**/b/", 12) + "a/*/*"}},
		{longest("a", "*"), []string{longest("a", "*"), longest("a", "a"), longest("a", "b")}, []string{longest("a", "")[:254] + "*", longest("a", "**")}},
		{"*é", []string{"é", "a*é"}, []string{"*", "*è"}},

		{`a\*b`, []string{`a\*b`}, []string{"a*b", "axb"}},
		{"a*b", []string{`a\*b`, `a\\b`, `a\b`}, []string{"a**b"}},
		{`a\\*`, []string{`a\\*`, `a\b`, `a\\b`, `a\\\*`}, []string{`a\*`, "a*"}},
		{`\**`, []string{`\**`, `\*a*`, `\*\**`}, []string{`\*`, "*", "**"}},
	} {
		p := mustCompile(t, tt.p)
		for _, q := range tt.yes {
			if !p.Covers(mustCompile(t, q)) {
				t.Errorf("%q does not cover %q, and should", tt.p, q)
			}
		}
		for _, q := range tt.no {
			if p.Covers(mustCompile(t, q)) {
				t.Errorf("%q covers %q, and should not", tt.p, q)
			}
		}
	}
}

// longest repeats a byte and adds an end, to make the longest pattern that there may be.
func longest(unit, end string) string {
	return strings.Repeat(unit, MaxBytes-len(end)) + end
}

// Two patterns over the same few characters, and every name over these and one more: where p covers q, p
// matches all that q does; where it does not, there is a name to show for it.
func TestCoversAgainstAllNames(t *testing.T) {
	for _, tt := range []struct {
		title              string
		patterns           string
		patternLen         int
		names              string
		nameLen            int
		wantPairs, wantYes int
	}{
		{"levels", "a/*", 5, "a/c", 8, 100_000, 10_000},
		{"letters", "ab*", 5, "abc/", 6, 100_000, 10_000},
		{"escapes", `a*\`, 5, `a*\c/`, 6, 100_000, 10_000},
		{"all of it", `ab/*\`, 3, `ab/*\c`, 5, 20_000, 1_000},
	} {
		t.Run(tt.title, func(t *testing.T) {
			names := words(tt.names, tt.nameLen)
			patterns := mustCompileAll(t, words(tt.patterns, tt.patternLen))
			matched := make([]nameSet, len(patterns))
			for i, p := range patterns {
				matched[i] = matchedBy(p, names)
			}
			yes := 0
			for i, p := range patterns {
				for j, q := range patterns {
					want := matched[j].isPartOf(matched[i])
					if got := p.Covers(q); got != want {
						t.Fatalf("Compile(%q).Covers(%q) = %v, and of all names to %d bytes says %v", p, q, got, tt.nameLen, want)
					}
					if want {
						yes++
					}
				}
			}
			pairs := len(patterns) * len(patterns)
			t.Logf("%d pairs, %d of them cover, %d names", pairs, yes, len(names))
			if pairs < tt.wantPairs || yes < tt.wantYes {
				t.Errorf("%d pairs and %d yes are too few", pairs, yes)
			}
		})
	}
}

// nameSet has a bit for each of a list of names.
type nameSet []uint64

func matchedBy(p *Pattern, names []string) nameSet {
	set := make(nameSet, (len(names)+63)/64)
	for i, name := range names {
		if p.Match(name) {
			set[i/64] |= 1 << (i % 64)
		}
	}
	return set
}

func (s nameSet) isPartOf(other nameSet) bool {
	for i, word := range s {
		if word&^other[i] != 0 {
			return false
		}
	}
	return true
}

// Longer patterns: whatever p covers, it matches; what it does not cover has a name that it does not match.
func TestCoversLongPatterns(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	yes, no, most := 0, 0, 0
	for range 10000 {
		p := mustCompile(t, randomPattern(random, 2+random.IntN(10)))
		q := mustCompile(t, narrowed(random, p.String()))
		effort := MaxEffort
		covered := CoveredBy([]*Pattern{p}, q, &effort)
		work := int(MaxEffort - effort)
		most = max(most, work)
		if !covered {
			no++
			if counterexample(p, q) == "" {
				t.Fatalf("Compile(%q) does not cover %q, and no name shows it", p, q)
			}
			continue
		}
		yes++
		if name := counterexample(p, q); name != "" {
			t.Fatalf("Compile(%q) covers %q, but only the second matches %q", p, q, name)
		}
		for range 10 {
			if name := nameFor(random, q); q.Match(name) && !p.Match(name) {
				t.Fatalf("Compile(%q) covers %q, but only the second matches %q", p, q, name)
			}
		}
	}
	t.Logf("%d cover, %d do not, at most %d steps", yes, no, most)
	if yes < 2000 || no < 2000 {
		t.Error("too few of one")
	}
}

// narrowed changes a pattern in a few places, mostly so that it matches less.
func narrowed(random *rand.Rand, pattern string) string {
	less := []string{"*", "*", "*a*", "*/*", "/*", "a", "**", "**/", "**/**", "*/**/*", "**a**", ""}
	parts := patternParts.FindAllString(pattern, -1)
	for range 1 + random.IntN(3) {
		i := random.IntN(len(parts))
		if strings.HasPrefix(parts[i], "*") || random.IntN(8) == 0 {
			parts[i] = less[random.IntN(len(less))]
		}
	}
	if q := strings.Join(parts, ""); q != "" {
		return q
	}
	return pattern
}

// counterexample looks for a string of q that p does not match: it fills every gap of q with a character that
// no pattern may contain, and "**" also with several levels of it, in all combinations.
func counterexample(p, q *Pattern) string {
	fills := []string{"\x01", "\x01/\x01", "\x01/\x01/\x01", strings.Repeat("\x01/", MaxBytes) + "\x01"}
	re := regexpFor(p.String()) // also for strings that are longer than a name
	var try func(name string, gaps []gap) string
	try = func(name string, gaps []gap) string {
		if len(gaps) == 0 {
			if re.MatchString(name) {
				return ""
			}
			return name
		}
		for _, fill := range fills {
			if found := try(name+fill+gaps[0].literal, gaps[1:]); found != "" {
				return found
			}
			if !gaps[0].deep {
				break
			}
		}
		return ""
	}
	if found := try(q.prefix, q.gaps); found != "" {
		return found
	}
	if q.isPlain() && !p.Match(q.source) {
		return q.source
	}
	return ""
}

// Patterns that remember which of many levels had an "a" in them: each of q's "**" doubles what p may be in.
// Covers gives up, and then says no.
func TestCoversHostile(t *testing.T) {
	levels := func(n int) string { return strings.Repeat("/*", n) }
	for title, pair := range map[string][2]string{
		"levels behind a deep star, wildcards galore": {"**a*" + levels(50) + "/**", strings.Repeat("/**a", 60)},
		"levels behind a level with an a":             {"**/*a*" + levels(20) + "/**", "/a" + strings.Repeat("/**a", 50)},
		"just enough":                                 {"**a*" + levels(11) + "/**", strings.Repeat("/**a", 14)},
	} {
		t.Run(title, func(t *testing.T) {
			effort := MaxEffort
			covered := CoveredBy([]*Pattern{mustCompile(t, pair[0])}, mustCompile(t, pair[1]), &effort)
			work := int(MaxEffort - effort)
			if covered {
				t.Error("covers, and should not")
			}
			// The bound is looked at before each byte.
			if work < maxCoverEffort || work > maxCoverEffort+3*MaxBytes {
				t.Errorf("%d units of work; want %d, and at most a few steps more", work, maxCoverEffort)
			}
		})
	}
}

// One request's Covers share one effort: a hundred hostile patterns against a hundred use it up, and are not covered
// then. What people write is far from it.
func TestEffort(t *testing.T) {
	many := func(pattern string) (patterns []*Pattern) {
		for i := range 100 {
			patterns = append(patterns, mustCompile(t, strings.ReplaceAll(pattern, "#", strconv.Itoa(i))))
		}
		return patterns
	}
	for _, tt := range []struct {
		title, wider, narrower string
		exhausted              bool
	}{
		{"levels behind a deep star", "**a*" + strings.Repeat("/*", 11) + "/**#", strings.Repeat("/**a", 14) + "/**#", true},
		{"as hostile as Compile takes", "**a*" + strings.Repeat("/*", 12) + "/**", strings.Repeat("/**a", 15) + "/#*", true},
		{"names that need a simulation", "**" + strings.Repeat("/*", 14) + "/#*", strings.Repeat("/a", 120) + "#", true},
		{"sites, lines and machines", "sites/*/line-#/**", "sites/*/line-#/*/events", false},
		{"one claim for each device", "fleets/f1/**/#", "fleets/f1/devices/cam-#/**", false},
		{"names against patterns", "sites/*/*/#/*", "sites/s1/l1/#/x", false},
	} {
		t.Run(tt.title, func(t *testing.T) {
			effort, wider := MaxEffort, many(tt.wider)
			covered := 0
			for _, q := range many(tt.narrower) {
				if CoveredBy(wider, q, &effort) {
					covered++
				}
			}
			t.Logf("%d units of work, %d covered", MaxEffort-effort, covered)
			if effort.IsExhausted() != tt.exhausted {
				t.Errorf("%d units are left; exhausted should be %v", effort, tt.exhausted)
			}
			if effort < -maxCoverEffort {
				t.Errorf("%d units more than there were", -effort)
			}
			if effort.IsExhausted() && CoveredBy([]*Pattern{mustCompile(t, "**")}, mustCompile(t, "a"), &effort) {
				t.Error("says yes without looking")
			}
		})
	}
}

// Of the sets that p may be in only the smallest are followed; that is what keeps Covers fast.
func TestAddHardest(t *testing.T) {
	setOf := func(states ...int) (set stateSet) {
		for _, state := range states {
			set.add(state)
		}
		return set
	}
	var a automaton
	var sets []stateSet
	for _, tt := range []struct {
		title string
		add   stateSet
		want  []stateSet
	}{
		{"the first", setOf(1, 2), []stateSet{setOf(1, 2)}},
		{"one beside it", setOf(3, 256), []stateSet{setOf(1, 2), setOf(3, 256)}},
		{"the same again", setOf(1, 2), []stateSet{setOf(1, 2), setOf(3, 256)}},
		{"more than one of them", setOf(0, 3, 256), []stateSet{setOf(1, 2), setOf(3, 256)}},
		{"less than one of them", setOf(2), []stateSet{setOf(3, 256), setOf(2)}},
		{"less than all of them", setOf(), []stateSet{setOf()}},
	} {
		if sets = a.addHardest(sets, tt.add); !slices.Equal(sets, tt.want) {
			t.Fatalf("after %s: %v, want %v", tt.title, sets, tt.want)
		}
	}
}

func TestCoversAllocates(t *testing.T) {
	for _, tt := range []struct {
		p, q string
		want float64
	}{
		{"fleets/**", "fleets/f1/devices/*/events", 0},
		{"fleets/*/devices/**/*", "fleets/f1/devices/camera-001/events", 0},
		{"fleets/*/devices/**/*", "fleets/f1/devices/**/events", 1},
	} {
		p, q := mustCompile(t, tt.p), mustCompile(t, tt.q)
		if n := testing.AllocsPerRun(100, func() { p.Covers(q) }); n != tt.want {
			t.Errorf("%s covers %s: %v allocations, want %v", p, q, n, tt.want)
		}
	}
}
