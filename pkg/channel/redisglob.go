package channel

import "strings"

// RedisGlob returns a glob for PSUBSCRIBE that matches every name that the pattern matches, and more:
// Redis has one star, which crosses '/', so whoever receives through it filters with [Pattern.Match].
// It means the same to Redis and to miniredis.
func (p *Pattern) RedisGlob() string {
	var glob strings.Builder
	if p.isPlain() && p.prefix != p.source {
		// It matches two names that differ only in the escapes.
		for i := 0; i < len(p.source); i++ {
			if isEscape(p.source, i) {
				glob.WriteByte('*')
				i++
			} else {
				writeGlobByte(&glob, p.source[i])
			}
		}
		return glob.String()
	}
	writeGlobLiteral(&glob, p.prefix)
	for _, gap := range p.gaps {
		glob.WriteByte('*')
		writeGlobLiteral(&glob, gap.literal)
	}
	return glob.String()
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
