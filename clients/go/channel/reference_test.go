package channel

import (
	"regexp"
	"strings"
	"testing"
)

// Three other readings of protocol §2, written apart from the code that they check.

// naiveMatch tries everything. It takes exponential time: for short patterns only.
func naiveMatch(pattern, name string) bool {
	if pattern == name && !strings.Contains(strings.NewReplacer(`\\`, "", `\*`, "").Replace(pattern), "*") {
		return true // a plain pattern matches its own spelling
	}
	return naiveRun(pattern, name)
}

func naiveRun(pattern, name string) bool {
	switch {
	case pattern == "":
		return name == ""
	case strings.HasPrefix(pattern, `\*`), strings.HasPrefix(pattern, `\\`):
		return name != "" && name[0] == pattern[1] && naiveRun(pattern[2:], name[1:])
	case strings.HasPrefix(pattern, "**"):
		rest := strings.TrimLeft(pattern, "*")
		for i := range len(name) + 1 {
			if naiveRun(rest, name[i:]) {
				return true
			}
		}
		return false
	case pattern[0] == '*':
		for i := range len(name) + 1 {
			if i > 0 && name[i-1] == '/' {
				return false
			}
			if naiveRun(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	default:
		return name != "" && name[0] == pattern[0] && naiveRun(pattern[1:], name[1:])
	}
}

var patternParts = regexp.MustCompile(`(?s)\\[*\\]|\*+|.`)

// regexpFor translates a pattern into a regular expression, which Go runs in linear time.
func regexpFor(pattern string) *regexp.Regexp {
	plain := true
	translated := patternParts.ReplaceAllStringFunc(pattern, func(part string) string {
		switch {
		case part == `\*` || part == `\\`:
			return regexp.QuoteMeta(part[1:])
		case part == "*":
			plain = false
			return "[^/]*"
		case part[0] == '*':
			plain = false
			return ".*"
		}
		return regexp.QuoteMeta(part)
	})
	if plain {
		translated += "|" + regexp.QuoteMeta(pattern)
	}
	return regexp.MustCompile("(?s)^(?:" + translated + ")$")
}

// redisMatches matches as Redis does for PSUBSCRIBE: byte by byte, '*' any run, '?' any byte, '[…]' a class
// with '^' and ranges, '\' before a byte that stands for itself.
func redisMatches(glob, s string) bool {
	if glob == "" {
		return s == ""
	}
	if glob[0] == '*' {
		for i := range len(s) + 1 {
			if redisMatches(glob[1:], s[i:]) {
				return true
			}
		}
		return false
	}
	if s == "" {
		return false
	}
	switch {
	case glob[0] == '?':
		return redisMatches(glob[1:], s[1:])
	case glob[0] == '[':
		in, rest := redisClass(glob[1:], s[0])
		return in && redisMatches(rest, s[1:])
	case glob[0] == '\\' && len(glob) >= 2:
		glob = glob[1:]
	}
	return glob[0] == s[0] && redisMatches(glob[1:], s[1:])
}

// redisClass reads a class behind its '[' and returns what follows its ']'.
func redisClass(class string, c byte) (in bool, rest string) {
	not := strings.HasPrefix(class, "^")
	if not {
		class = class[1:]
	}
	for class != "" && class[0] != ']' {
		switch {
		case class[0] == '\\' && len(class) >= 2:
			in = in || class[1] == c
			class = class[2:]
		case len(class) >= 3 && class[1] == '-':
			in = in || min(class[0], class[2]) <= c && c <= max(class[0], class[2])
			class = class[3:]
		default:
			in = in || class[0] == c
			class = class[1:]
		}
	}
	return in != not, strings.TrimPrefix(class, "]")
}

// words returns all strings of 1 to maxLen bytes over the alphabet.
func words(alphabet string, maxLen int) []string {
	var all []string
	longest := []string{""}
	for range maxLen {
		var longer []string
		for _, w := range longest {
			for _, c := range alphabet {
				longer = append(longer, w+string(c))
			}
		}
		all = append(all, longer...)
		longest = longer
	}
	return all
}

// mustCompile is Compile without the bound on wildcards: what is right and quick beyond it is so within.
func mustCompile(t testing.TB, s string) *Pattern {
	t.Helper()
	if err := validate("pattern", s); err != nil {
		t.Fatalf("Compile(%q): %v", s, err)
	}
	return parse(s)
}

func mustCompileAll(t testing.TB, sources []string) []*Pattern {
	t.Helper()
	patterns := make([]*Pattern, len(sources))
	for i, s := range sources {
		patterns[i] = mustCompile(t, s)
	}
	return patterns
}

// TestReferences checks the checkers: where they overlap they agree.
func TestReferences(t *testing.T) {
	names := words(`a/*\`, 4)
	for _, pattern := range words(`a/*\`, 3) {
		re := regexpFor(pattern)
		for _, name := range names {
			if naive, exp := naiveMatch(pattern, name), re.MatchString(name); naive != exp {
				t.Fatalf("pattern %q, name %q: naively %v, as a regular expression %v", pattern, name, naive, exp)
			}
		}
	}
	for _, tt := range []struct {
		glob, s string
		want    bool
	}{
		{"h?llo", "hello", true}, {"h?llo", "hllo", false},
		{"h*llo", "hllo", true}, {"h*llo", "he/e/llo", true}, {"h*", "h", true}, {"*", "", true},
		{"h[ae]llo", "hallo", true}, {"h[ae]llo", "hillo", false},
		{"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false},
		{"h[a-b]llo", "hbllo", true}, {"h[b-a]llo", "hallo", true}, {"h[a-b]llo", "hcllo", false},
		{`h\*llo`, "h*llo", true}, {`h\*llo`, "hello", false}, {`h\\llo`, `h\llo`, true},
		{`h[\\]llo`, `h\llo`, true}, {`h[\\]llo`, `hello`, false}, {`h[\]]llo`, `h]llo`, true},
		{`a]b`, `a]b`, true}, {`a^-b`, `a^-b`, true}, {`a\`, `a\`, true}, {"a[]b", "ab", false},
	} {
		if got := redisMatches(tt.glob, tt.s); got != tt.want {
			t.Errorf("Redis glob %q, string %q: %v, want %v", tt.glob, tt.s, got, tt.want)
		}
	}
}
