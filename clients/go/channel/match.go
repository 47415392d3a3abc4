package channel

import "strings"

// Match reports whether the pattern matches name, which the caller has validated (protocol §2). A plain
// pattern also matches its own spelling: escapes are not resolved in names, so a peer that was granted
// the channel `a\\b` can use it under that name.
//
// A reserved name is matched by patterns alone that name it ([Pattern.Reaches]).
//
// Match does not allocate, and takes at most about two microseconds for any pattern and name: it runs for every
// message on the goroutine that delivers to all apps.
func (p *Pattern) Match(name string) bool {
	matched, _ := p.match(name)
	return matched
}

// match also tells how much work it was, in the unit of [Effort].
func (p *Pattern) match(name string) (matched bool, work int) {
	if len(name) > 0 && name[0] == '_' && !p.Reaches(name) {
		return false, 0
	}
	if p.isPlain() {
		return name == p.prefix || name == p.source, 0
	}
	suffix := p.suffix()
	if len(name) > MaxBytes || len(name) < len(p.prefix)+len(suffix) || !strings.HasPrefix(name, p.prefix) || !strings.HasSuffix(name, suffix) {
		return false, 0
	}
	middle := name[len(p.prefix) : len(name)-len(suffix)]
	matched, lookups := p.search(middle)
	work = lookups * lookup
	if lookups > maxSearch {
		matched, work = p.simulate(middle), work+simulation
	}
	return matched, work
}

// maxSearch bounds the lookups of one search; one counts again for each 16 bytes of its literal. Names and patterns
// that people write take less than a quarter of it.
const maxSearch = 32

// Costs of a lookup and a simulate, in the unit of Effort.
const (
	lookup     = 4
	simulation = 256
)

// search reports whether s, what a name has between the pattern's prefix and suffix, can be divided among
// the gaps, and how many lookups it took. If they are more than maxSearch, it did not find out.
//
// Every literal is put at the leftmost place that it can have, which leaves the most space to the rest. When
// a single star would have to cross a '/', only the literal behind the last "**" reached can still move:
// moving a literal between stars, or that one inside its level, takes space away but not the '/'. So it is
// looked for again in the next level.
func (p *Pattern) search(s string) (found bool, lookups int) {
	last := len(p.gaps) - 1
	at := 0                   // where in s the next gap to place begins
	deepGap, deepEnd := -1, 0 // the last "**" reached, and where its run ended
	for g := 0; ; {
		gap := &p.gaps[g]
		if lookups += 1 + len(gap.literal)/16; lookups > maxSearch {
			return false, lookups
		}
		run := len(s) - at // the bytes that the gap takes
		if g < last {
			if run = strings.Index(s[at:], gap.literal); run < 0 {
				return false, lookups // nor is it there when the gap begins further right
			}
		}
		if gap.deep {
			deepGap, deepEnd = g, at+run
		} else if strings.IndexByte(s[at:at+run], '/') >= 0 {
			if deepGap < 0 {
				return false, lookups
			}
			g, at = deepGap, deepEnd+strings.IndexByte(s[deepEnd:], '/')+1
			continue
		}
		if g == last {
			return true, lookups
		}
		at += run + len(gap.literal)
		g++
	}
}
