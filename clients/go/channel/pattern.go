package channel

import (
	"fmt"
	"strings"
)

// MaxWildcards is how many wildcards a pattern may have (protocol §2). Whether one pattern covers another is the
// harder to tell the more there are.
const MaxWildcards = 16

// Pattern is a compiled channel pattern (protocol §2). Make one with [Compile]. It never changes, and two
// patterns whose String is the same are the same.
type Pattern struct {
	source string
	prefix string // the literal before the first wildcard, escapes resolved; all of a plain pattern
	gaps   []gap  // empty in a plain pattern
}

// gap is a wildcard and the literal that follows it. Between two gaps the literal is never empty, because
// wildcards side by side are read as one; after the last gap it may be.
type gap struct {
	deep    bool // "**": the run may contain '/'
	literal string
}

// Compile reads a pattern, or a plain name as the pattern that matches it (protocol §2). The rules for
// names hold for the pattern as it is spelled: 1–256 bytes of valid UTF-8, no control characters, no
// level "." or ".."; stars are allowed, up to [MaxWildcards] wildcards. The error's text is a sentence for
// the sender of the pattern.
func Compile(s string) (*Pattern, error) {
	if err := validate("pattern", s); err != nil {
		return nil, err
	}
	p := parse(s)
	if len(p.gaps) > MaxWildcards {
		return nil, fmt.Errorf("pattern has %d wildcards; at most %d are allowed", len(p.gaps), MaxWildcards)
	}
	return p, nil
}

// parse reads a pattern that is valid.
func parse(s string) *Pattern {
	p := &Pattern{source: s}
	var literal strings.Builder
	endLiteral := func() {
		if len(p.gaps) == 0 {
			p.prefix = literal.String()
		} else {
			p.gaps[len(p.gaps)-1].literal = literal.String()
		}
		literal.Reset()
	}
	for i := 0; i < len(s); {
		switch {
		case isEscape(s, i):
			literal.WriteByte(s[i+1])
			i += 2
		case s[i] == '*':
			endLiteral()
			start := i
			for i < len(s) && s[i] == '*' {
				i++
			}
			p.gaps = append(p.gaps, gap{deep: i-start > 1})
		default:
			literal.WriteByte(s[i])
			i++
		}
	}
	endLiteral()
	return p
}

// String returns the pattern as it was given to [Compile].
func (p *Pattern) String() string { return p.source }

// IsPattern reports whether s contains a wildcard, that is, an unescaped star (protocol §2). It does not
// check whether s is valid otherwise.
func IsPattern(s string) bool {
	for i := 0; i < len(s); i++ {
		if isEscape(s, i) {
			i++
		} else if s[i] == '*' {
			return true
		}
	}
	return false
}

// isEscape reports whether one of the pairs `\*` and `\\` stands at s[i].
func isEscape(s string, i int) bool {
	return s[i] == '\\' && i+1 < len(s) && (s[i+1] == '*' || s[i+1] == '\\')
}

// isPlain reports whether p has no wildcard.
func (p *Pattern) isPlain() bool { return len(p.gaps) == 0 }

// suffix is the literal behind the last wildcard of a pattern that has one.
func (p *Pattern) suffix() string { return p.gaps[len(p.gaps)-1].literal }
