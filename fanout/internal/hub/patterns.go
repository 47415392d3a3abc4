package hub

import (
	"slices"
	"strings"

	"fleetwire/clients/go/channel"
)

// patterns are the patterns that one app's connections are subscribed to. To find
// those that match a name takes as long as there are levels in the name, however
// many patterns there are: they are kept in a trie by level. Only patterns that
// differ where a level is part star, part text, or reaches over levels ("**"), are
// looked at one by one, and of them only those whose levels before match.
type patterns struct {
	all  map[string]*patternAudience // by the pattern's text
	root levelNode
}

type patternAudience struct {
	pattern *channel.Pattern
	audience
}

// levelNode is where patterns are that begin with the same levels.
type levelNode struct {
	literal map[string]*levelNode // the next level is this text
	star    *levelNode            // the next level is "*"
	partial []partialLevel        // the next level has a star and text
	deep    []*patternAudience    // the next level has a "**": all that follows
	ends    []*patternAudience    // there is no next level
}

type partialLevel struct {
	text    string
	matches *channel.Pattern
	node    *levelNode
}

func newPatterns() *patterns { return &patterns{all: map[string]*patternAudience{}} }

func (p *patterns) find(pattern *channel.Pattern) *patternAudience { return p.all[pattern.String()] }

// add takes in a pattern that is not there yet.
func (p *patterns) add(pattern *channel.Pattern) *patternAudience {
	a := &patternAudience{pattern: pattern}
	p.all[pattern.String()] = a
	n := &p.root
	for rest, more := pattern.String(), true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		text, stars, deep := readLevel(level)
		switch {
		case deep:
			n.deep = append(n.deep, a)
			return a
		case stars == 0:
			n = n.literalChild(text)
		case level == "*":
			if n.star == nil {
				n.star = &levelNode{}
			}
			n = n.star
		default:
			n = n.partialChild(level)
		}
	}
	n.ends = append(n.ends, a)
	return a
}

func (n *levelNode) literalChild(text string) *levelNode {
	child := n.literal[text]
	if child == nil {
		if n.literal == nil {
			n.literal = map[string]*levelNode{}
		}
		child = &levelNode{}
		n.literal[text] = child
	}
	return child
}

func (n *levelNode) partialChild(text string) *levelNode {
	for i := range n.partial {
		if n.partial[i].text == text {
			return n.partial[i].node
		}
	}
	matches, err := channel.Compile(text)
	if err != nil {
		panic("a level of a pattern is a pattern: " + err.Error())
	}
	n.partial = append(n.partial, partialLevel{text, matches, &levelNode{}})
	return n.partial[len(n.partial)-1].node
}

// remove takes out a pattern that is there, and the levels that it alone needed.
func (p *patterns) remove(a *patternAudience) {
	delete(p.all, a.pattern.String())
	p.root.remove(a, a.pattern.String(), true)
}

func (n *levelNode) remove(a *patternAudience, rest string, more bool) {
	is := func(other *patternAudience) bool { return other == a }
	if !more {
		n.ends = slices.DeleteFunc(n.ends, is)
		return
	}
	level, rest, more := strings.Cut(rest, "/")
	text, stars, deep := readLevel(level)
	switch {
	case deep:
		n.deep = slices.DeleteFunc(n.deep, is)
	case stars == 0:
		child := n.literal[text]
		child.remove(a, rest, more)
		if child.empty() {
			delete(n.literal, text)
		}
	case level == "*":
		n.star.remove(a, rest, more)
		if n.star.empty() {
			n.star = nil
		}
	default:
		i := slices.IndexFunc(n.partial, func(l partialLevel) bool { return l.text == level })
		n.partial[i].node.remove(a, rest, more)
		if n.partial[i].node.empty() {
			n.partial = slices.Delete(n.partial, i, i+1)
		}
	}
}

func (n *levelNode) empty() bool {
	return len(n.literal) == 0 && n.star == nil && len(n.partial) == 0 && len(n.deep) == 0 && len(n.ends) == 0
}

// match appends the audiences of the patterns that match the name.
func (p *patterns) match(name string, found []*patternAudience) []*patternAudience {
	before := len(found)
	found = p.root.match(name, name, found)
	if channel.IsReserved(name) { // the levels may match though the pattern does not reach it
		reached := slices.DeleteFunc(found[before:], func(a *patternAudience) bool { return !a.pattern.Reaches(name) })
		found = found[:before+len(reached)]
	}
	return found
}

func (n *levelNode) match(name, rest string, found []*patternAudience) []*patternAudience {
	for _, a := range n.deep {
		if a.pattern.Match(name) {
			found = append(found, a)
		}
	}
	level, rest, more := strings.Cut(rest, "/")
	if child := n.literal[level]; child != nil {
		found = child.matched(name, rest, more, found)
	}
	if n.star != nil {
		found = n.star.matched(name, rest, more, found)
	}
	for i := range n.partial {
		if n.partial[i].matches.Match(level) {
			found = n.partial[i].node.matched(name, rest, more, found)
		}
	}
	return found
}

// matched goes on where the levels so far match.
func (n *levelNode) matched(name, rest string, more bool, found []*patternAudience) []*patternAudience {
	if more {
		return n.match(name, rest, found)
	}
	return append(found, n.ends...)
}

// readLevel reads a level of a pattern: its text without escapes (protocol §2),
// how many stars it has, and whether two of them stand side by side.
func readLevel(level string) (text string, stars int, deep bool) {
	if strings.IndexByte(level, '*') < 0 && strings.IndexByte(level, '\\') < 0 {
		return level, 0, false
	}
	var b strings.Builder
	after := -1 // where the last star ended
	for i := 0; i < len(level); i++ {
		switch c := level[i]; {
		case c == '\\' && i+1 < len(level) && (level[i+1] == '*' || level[i+1] == '\\'):
			i++
			b.WriteByte(level[i])
		case c == '*':
			deep = deep || after == i
			stars++
			after = i + 1
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), stars, deep
}
