package channel

import "math/bits"

// maxCoverWork bounds the work of one Covers, in steps of the automaton and comparisons of state sets: a few
// milliseconds. Patterns that people write take less than a hundredth of it. What comes near it has a long
// row of levels `*/*/*/*/…` behind a "**", against a pattern with several "**": more than ten wildcards each.
const maxCoverWork = 1 << 14

// Covers reports whether p matches every name that q matches (protocol §2): `devices/**` covers
// `devices/*/events`, `devices/*` does not.
//
// A yes is always right. A no is wrong only where q matches strings outside p that the rules for names
// exclude anyway (a level "..", more than 256 bytes), or where two patterns of more than ten wildcards each,
// made for it, exhaust a bound on the work.
func (p *Pattern) Covers(q *Pattern) bool {
	covered, _ := p.covers(q)
	return covered
}

// covers decides the inclusion by running p, as an automaton, over the hardest names of q: those that the
// fewest states of p survive. The hardest run for a `*` of q is one byte that occurs in neither pattern. Only
// p's wildcards survive it, and they would survive no byte, several bytes, and any other byte but '/', too.
// The hardest runs for a `**` are such bytes with 0, 1, 2… slashes between them, up to where one more leaves
// the states as they are. None of them need be the hardest of all, so all are tried.
func (p *Pattern) covers(q *Pattern) (covered bool, work int) {
	if q.isPlain() {
		return p.Match(q.prefix) && p.Match(q.source), 0
	}
	if p.isPlain() {
		return false, 0
	}
	var a automaton
	a.load(p)
	// What p may be in after q's gaps so far: one set for each choice of slashes that is still worth a try.
	var thisSpace, nextSpace [8]stateSet
	sets, next := append(thisSpace[:0], a.read(a.start(), q.prefix)), nextSpace[:0]
	for _, gap := range q.gaps {
		next = next[:0]
		for _, set := range sets {
			set = a.step(set, otherByte)
			for {
				after := a.read(set, gap.literal)
				if after.isEmpty() || a.work > maxCoverWork {
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
	work   int
}

func (a *automaton) load(p *Pattern) {
	a.addLiteral(p.prefix)
	for _, gap := range p.gaps {
		move := uint16(starRun)
		if gap.deep {
			move = deepRun
		}
		a.moves[a.states] = move
		a.states++
		a.addLiteral(gap.literal)
	}
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
	for i := range len(s) {
		set = a.step(set, uint16(s[i]))
	}
	return set
}

// addHardest adds set to sets, unless one of them is a part of it and so at least as hard, and takes out
// those of which it is a part.
func (a *automaton) addHardest(sets []stateSet, set stateSet) []stateSet {
	kept := sets[:0]
	for _, other := range sets {
		a.work++
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
