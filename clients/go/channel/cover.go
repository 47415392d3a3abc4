package channel

import (
	"math/bits"
	"strings"
)

// Effort is how much work the [CoveredBy] and [MatchedBy] calls of one request may still take together. The unit is
// one state of an automaton: a few nanoseconds.
type Effort int

// MaxEffort is what one request may take: about half a millisecond. A hundred patterns against a hundred, as people
// write them, take less than that.
const MaxEffort Effort = 1 << 16

// MaxPatternEffort is what a request about one pattern may take, such as a subscribe: about a quarter of a
// millisecond, because it runs where the node's other connections wait for it.
const MaxPatternEffort Effort = 1 << 15

// IsExhausted reports whether CoveredBy or MatchedBy may have said no because the work was too much.
func (e Effort) IsExhausted() bool { return e <= 0 }

// maxCoverEffort bounds the work for one pair of patterns. Patterns that people write take less than a hundredth of
// it. Patterns that come near it have a long row of levels `*/*/*/*/…` behind a "**", against a pattern with several "**".
const maxCoverEffort = 1 << 14

// Covers reports whether p matches every name that q matches (protocol §2): `devices/**` covers
// `devices/*/events`, `devices/*` does not.
//
// A yes is always right. A no is wrong only where q matches strings outside p that the rules for names
// exclude anyway (a level "..", more than 256 bytes), or where two patterns of about ten wildcards each,
// made for it, exhaust a bound on the work.
func (p *Pattern) Covers(q *Pattern) bool {
	effort := MaxEffort
	return CoveredBy([]*Pattern{p}, q, &effort)
}

// CoveredBy reports whether one of the patterns covers q, as [Pattern.Covers] does. It takes its work from effort;
// once that is exhausted it says no.
func CoveredBy(patterns []*Pattern, q *Pattern, effort *Effort) bool {
	sample := ""
	for _, p := range patterns {
		if effort.IsExhausted() {
			return false
		}
		covered, decided, work := p.coversAtOnce(q)
		if !decided {
			if sample == "" {
				sample = q.sample()
			}
			var more int
			if covered, more = p.match(sample); covered { // or it cannot cover q, which matches that
				covered, work = p.covers(q, min(maxCoverEffort, int(*effort)))
			}
			work += more
		}
		if *effort -= 1 + Effort(work); covered {
			return true
		}
	}
	return false
}

// MatchedBy reports whether one of the patterns matches name. It takes its work from effort; once that is exhausted it
// says no.
func MatchedBy(patterns []*Pattern, name string, effort *Effort) bool {
	for _, p := range patterns {
		if effort.IsExhausted() {
			return false
		}
		matched, work := p.match(name)
		if *effort -= 1 + Effort(work); matched {
			return true
		}
	}
	return false
}

// sample is a string that q, which has wildcards, matches and few others do: it has a byte for each wildcard that no
// pattern contains.
func (q *Pattern) sample() string {
	var s strings.Builder
	s.Grow(len(q.source)) // no wildcard is shorter than the byte for it
	s.WriteString(q.prefix)
	for _, gap := range q.gaps {
		s.WriteByte(0)
		s.WriteString(gap.literal)
	}
	return s.String()
}

// coversAtOnce decides the simple cases, which most are.
func (p *Pattern) coversAtOnce(q *Pattern) (covered, decided bool, work int) {
	switch {
	case p.source == q.source:
		return true, true, 0
	case NamesConnectivity(q.source) && !NamesConnectivity(p.source):
		return false, true, 0 // q matches reserved names
	case q.isPlain():
		covered, work = p.match(q.prefix)
		if covered && q.prefix != q.source {
			var more int
			covered, more = p.match(q.source)
			work += more
		}
		return covered, true, work
	case p.isPlain():
		return false, true, 0
	case !strings.HasPrefix(q.prefix, p.prefix), !strings.HasSuffix(q.suffix(), p.suffix()):
		return false, true, 0 // what stands for q's stars need not be what p says there
	case len(p.gaps) > 1:
		return false, false, 0
	case p.gaps[0].deep:
		return true, true, 0
	}
	// All of q that is not p's prefix or suffix must lie in one level.
	if strings.IndexByte(q.prefix[len(p.prefix):], '/') >= 0 {
		return false, true, 0
	}
	for i, gap := range q.gaps {
		literal := gap.literal
		if i == len(q.gaps)-1 {
			literal = literal[:len(literal)-len(p.suffix())]
		}
		if gap.deep || strings.IndexByte(literal, '/') >= 0 {
			return false, true, 0
		}
	}
	return true, true, 0
}

// covers decides the inclusion by running p, as an automaton, over the hardest names of q: those that the
// fewest states of p survive. The hardest run for a `*` of q is one byte that occurs in neither pattern. Only
// p's wildcards survive it, and they would survive no byte, several bytes, and any other byte but '/', too.
// The hardest runs for a `**` are such bytes with 0, 1, 2… slashes between them, up to where one more leaves
// the states as they are. None of them need be the hardest of all, so all are tried.
//
// Both have wildcards, and q's prefix begins with p's. Shortly after the work has passed limit the answer is no.
func (p *Pattern) covers(q *Pattern, limit int) (covered bool, work int) {
	var a automaton
	a.load(p)
	a.limit = limit
	// The states that p may be in after q's gaps so far: one set for each choice of slashes that is worth a try.
	var thisSpace, nextSpace [8]stateSet
	sets, next := append(thisSpace[:0], a.read(a.start(), q.prefix[len(p.prefix):])), nextSpace[:0]
	for _, gap := range q.gaps {
		next = next[:0]
		for _, set := range sets {
			set = a.step(set, otherByte)
			for {
				after := a.read(set, gap.literal)
				if after.isEmpty() || a.work > limit {
					return false, a.work
				}
				next = a.addHardest(next, after)
				if !gap.deep {
					break
				}
				deeper := a.step(a.step(set, '/'), otherByte)
				if deeper == set {
					break
				}
				set = deeper
			}
		}
		sets, next = next, sets
	}
	for _, set := range sets {
		if !set.has(a.states) {
			return false, a.work
		}
	}
	return true, a.work
}

// Symbols and transitions: 0–255 are bytes, the others are these.
const (
	otherByte = 256 + iota // a byte that no literal contains
	starRun                // `*`
	deepRun                // `**`
)

// automaton is a pattern as a nondeterministic automaton. It moves from state i to i+1 by moves[i]; the
// state behind the last move accepts. A wildcard's state also stays, and is left without reading anything.
type automaton struct {
	moves  [MaxBytes]uint16
	states int // how many moves there are, and so the accepting state
	work   int // states looked at, and sets compared
	limit  int // of the work
}

// load takes in what p has behind its prefix.
func (a *automaton) load(p *Pattern) {
	for _, gap := range p.gaps {
		move := uint16(starRun)
		if gap.deep {
			move = deepRun
		}
		a.moves[a.states] = move
		a.states++
		a.addLiteral(gap.literal)
	}
	a.work += a.states / 4
}

func (a *automaton) addLiteral(literal string) {
	for i := range len(literal) {
		a.moves[a.states] = uint16(literal[i])
		a.states++
	}
}

// start returns the states before anything is read.
func (a *automaton) start() (set stateSet) {
	a.enter(&set, 0)
	return set
}

// enter adds a state to a set, and with a wildcard's state the one that it is left to. (Two wildcards never
// stand side by side.)
func (a *automaton) enter(set *stateSet, state int) {
	set.add(state)
	if state < a.states && a.moves[state] >= starRun {
		set.add(state + 1)
	}
}

// step returns the states that reading symbol leads to.
func (a *automaton) step(from stateSet, symbol uint16) (to stateSet) {
	a.work++
	for w, word := range from {
		for ; word != 0; word &= word - 1 {
			a.work++
			state := w*64 + bits.TrailingZeros64(word)
			if state == a.states {
				break
			}
			switch move := a.moves[state]; {
			case move == deepRun, move == starRun && symbol != '/':
				a.enter(&to, state)
			case move == symbol:
				a.enter(&to, state+1)
			}
		}
	}
	return to
}

// read takes one step for each byte of s.
func (a *automaton) read(set stateSet, s string) stateSet {
	for i := 0; i < len(s) && a.work <= a.limit; i++ {
		set = a.step(set, uint16(s[i]))
	}
	return set
}

// addHardest adds set to sets, unless one of them is a part of it and so at least as hard, and takes out
// those of which it is a part.
func (a *automaton) addHardest(sets []stateSet, set stateSet) []stateSet {
	kept := sets[:0]
	for _, other := range sets {
		a.work += 2
		if other.isPartOf(set) {
			return sets // of which none contains set, or it would contain other too
		}
		if !set.isPartOf(other) {
			kept = append(kept, other)
		}
	}
	return append(kept, set)
}

// stateSet is a set of states: up to MaxBytes moves, and the accepting state.
type stateSet [MaxBytes/64 + 1]uint64

func (s *stateSet) add(state int)      { s[state/64] |= 1 << (state % 64) }
func (s *stateSet) has(state int) bool { return s[state/64]&(1<<(state%64)) != 0 }
func (s *stateSet) isEmpty() bool      { return *s == stateSet{} }

// isPartOf reports whether every state of s is in other too.
func (s *stateSet) isPartOf(other stateSet) bool {
	for w, word := range s {
		if word&^other[w] != 0 {
			return false
		}
	}
	return true
}
