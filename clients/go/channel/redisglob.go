package channel

import "strings"

// maxGlobStars is how many stars a glob has at most. Redis tries every glob with every message that anybody
// publishes, on its only thread, and for each star it can read the rest of the name once more.
const maxGlobStars = 3

// RedisGlob returns a glob for PSUBSCRIBE that matches every name that the pattern matches, and more:
// Redis has one star, which crosses '/', so a receiver filters with [Pattern.Match]. A
// pattern with more than three wildcards keeps only its parts before the first and after the last.
// Redis and miniredis read the glob alike.
func (p *Pattern) RedisGlob() string {
	literals := p.literals()
	if len(literals) > maxGlobStars+1 {
		literals = []string{literals[0], literals[len(literals)-1]}
	}
	var glob strings.Builder
	for i, literal := range literals {
		if i > 0 {
			glob.WriteByte('*')
		}
		writeGlobLiteral(&glob, literal)
	}
	return glob.String()
}

// literals are what the stars of the glob stand between.
func (p *Pattern) literals() []string {
	if !p.isPlain() {
		literals := []string{p.prefix}
		for _, gap := range p.gaps {
			literals = append(literals, gap.literal)
		}
		return literals
	}
	// It matches two names that differ in the escapes alone, so there is a star for each of those.
	var literals []string
	start := 0
	for i := 0; i < len(p.source); i++ {
		if isEscape(p.source, i) {
			literals = append(literals, p.source[start:i])
			i++
			start = i + 1
		}
	}
	return append(literals, p.source[start:])
}

func writeGlobLiteral(glob *strings.Builder, literal string) {
	for i := range len(literal) {
		writeGlobByte(glob, literal[i])
	}
}

// writeGlobByte writes what stands for c alone. '^', '-' and ']' mean something only inside brackets.
func writeGlobByte(glob *strings.Builder, c byte) {
	switch c {
	case '*', '?', '[':
		glob.WriteByte('\\')
		glob.WriteByte(c)
	case '\\':
		// Not `\\`: miniredis hands that to a regular expression in which `\E` ends the quoting, so that
		// a name with `\E` in it would be taken for syntax, or bring the process down.
		glob.WriteString(`[\\]`)
	default:
		glob.WriteByte(c)
	}
}
