package receiver

import "fleetwire/pkg/envelope"

// maxGlobs bounds the Redis globs of a kind that a node has for one app. Redis tries every
// glob of every node with every message that anybody publishes: measured, 0.25 µs
// each. Past the bound a node takes in all messages of the app, and filters.
const maxGlobs = 32

// everyChannel is the glob of all channels of an app.
const everyChannel = "*"

// globs decides which Redis glob stands for the glob that a pattern asks for.
type globs struct {
	chosen map[globKey]*choice
	inUse  map[globApp]map[string]int // glob in Redis → how many asked-for globs it stands for
}

// globApp is what the globs are bounded for.
type globApp struct {
	kind envelope.Kind
	app  string
}

type globKey struct {
	of    globApp
	asked string
}

type choice struct {
	glob     string
	patterns int
}

func newGlobs() globs {
	return globs{chosen: map[globKey]*choice{}, inUse: map[globApp]map[string]int{}}
}

// choose returns the glob that is to stand for asked. add makes it so.
func (g *globs) choose(of globApp, asked string) string {
	if c := g.chosen[globKey{of, asked}]; c != nil {
		return c.glob
	}
	used := g.inUse[of]
	if used[asked] > 0 || len(used) < maxGlobs {
		return asked
	}
	return everyChannel
}

// add notes one more pattern that asks for a glob.
func (g *globs) add(of globApp, asked, glob string) {
	key := globKey{of, asked}
	c := g.chosen[key]
	if c == nil {
		c = &choice{glob: glob}
		g.chosen[key] = c
		if g.inUse[of] == nil {
			g.inUse[of] = map[string]int{}
		}
		g.inUse[of][glob]++
	}
	c.patterns++
}

// remove undoes one add, and returns the glob that stood for asked.
func (g *globs) remove(of globApp, asked string) (glob string, ok bool) {
	key := globKey{of, asked}
	c := g.chosen[key]
	if c == nil {
		return "", false
	}
	if c.patterns--; c.patterns == 0 {
		delete(g.chosen, key)
		used := g.inUse[of]
		if used[c.glob]--; used[c.glob] == 0 {
			delete(used, c.glob)
		}
		if len(used) == 0 {
			delete(g.inUse, of)
		}
	}
	return c.glob, true
}
