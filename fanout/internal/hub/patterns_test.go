package hub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fleetwire/clients/go/channel"
)

// matching are the patterns that the trie finds.
func (p *patterns) matching(name string) []string {
	var found []string
	for _, a := range p.match(name, nil) {
		found = append(found, a.pattern.String())
	}
	slices.Sort(found)
	return found
}

func TestPatternsMatch(t *testing.T) {
	p := newPatterns()
	for _, s := range []string{
		"devices/*", "devices/*/events", "devices/**", "**", "*", "*/*", "*/*/*", "devices/cam-*", "devices/cam-*/events",
		"devices/*-1/events", `devices/\*/*`, `devices/\\/*`, `devices/\*/cam-*`, "**/events", "devices/cam-**", "dev**/1", "/*", "*/", "**/", "a***b/*", `a\b/*`, `a\\b/*`,
	} {
		p.add(mustCompile(t, s))
	}
	for name, want := range map[string][]string{
		"devices/cam-1":        {"**", "*/*", "devices/*", "devices/**", "devices/cam-*", "devices/cam-**"},
		"devices/cam-1/events": {"**", "**/events", "*/*/*", "devices/*-1/events", "devices/*/events", "devices/**", "devices/cam-*/events", "devices/cam-**"},
		"devices/":             {"**", "**/", "*/", "*/*", "devices/*", "devices/**"},
		"devices":              {"*", "**"},
		`devices/*/x`:          {"**", "*/*/*", "devices/**", `devices/\*/*`},
		`devices/\/x`:          {"**", "*/*/*", "devices/**", `devices/\\/*`},
		"devx/1":               {"**", "*/*", "dev**/1"},
		"/x":                   {"**", "*/*", "/*"},
		"axb/y":                {"**", "*/*", "a***b/*"},
		`a\b/y`:                {"**", "*/*", "a***b/*", `a\\b/*`, `a\b/*`},
		"a/x/b/y":              {"**", "a***b/*"},
	} {
		slices.Sort(want)
		if got := p.matching(name); !slices.Equal(got, want) {
			t.Errorf("%s matches %q, want %q", name, got, want)
		}
	}
}

// The trie finds what channel.Pattern.Match says, whatever comes and goes.
func TestPatternsAgreeWithPattern(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	text := func(alphabet []string, most int) string {
		var b strings.Builder
		for range 1 + random.IntN(most) {
			b.WriteString(alphabet[random.IntN(len(alphabet))])
		}
		return b.String()
	}
	inPatterns := []string{"a", "b", "/", "/", "*", "*", "**", `\*`, `\\`, `\`}
	inNames := []string{"a", "b", "/", "/", "*", `\`}
	p := newPatterns()
	var there []*patternAudience
	matches := 0
	for range 30_000 {
		switch {
		case len(there) < 40 || random.IntN(4) > 0:
			pattern, err := channel.Compile(text(inPatterns, 7))
			if err != nil || !channel.IsPattern(pattern.String()) || p.find(pattern) != nil {
				continue
			}
			there = append(there, p.add(pattern))
		}
		for len(there) > 60 {
			i := random.IntN(len(there))
			p.remove(there[i])
			if p.find(there[i].pattern) != nil {
				t.Fatalf("%s was removed, and is there", there[i].pattern)
			}
			there = slices.Delete(there, i, i+1)
		}
		name := text(inNames, 8)
		if channel.ValidateName(name) != nil {
			continue
		}
		var want []string
		for _, a := range there {
			if a.pattern.Match(name) {
				want = append(want, a.pattern.String())
			}
		}
		slices.Sort(want)
		matches += len(want)
		if got := p.matching(name); !slices.Equal(got, want) {
			t.Fatalf("%q matches %q, want %q", name, got, want)
		}
	}
	if matches < 10_000 {
		t.Errorf("only %d matches, which compares little", matches)
	}
	for _, a := range there {
		p.remove(a)
	}
	if len(p.all) > 0 || !p.root.empty() {
		t.Errorf("something is left of patterns that were all removed: %+v", p.root)
	}
}

func FuzzPatterns(f *testing.F) {
	f.Add("devices/*/events", "devices/a/events")
	f.Add(`a\*b*/**c`, "a*bx/y/c")
	f.Add("***/*", "a/b")
	f.Fuzz(func(t *testing.T, text, name string) {
		pattern, err := channel.Compile(text)
		if err != nil || !channel.IsPattern(text) || channel.ValidateName(name) != nil {
			return
		}
		p := newPatterns()
		a := p.add(pattern)
		if got := len(p.match(name, nil)) == 1; got != pattern.Match(name) {
			t.Errorf("%q in the trie matches %q: %v, by itself %v", text, name, got, !got)
		}
		p.remove(a)
		if !p.root.empty() {
			t.Errorf("%q leaves something behind", text)
		}
	})
}

// manyPatterns are n patterns of which one matches the name.
func manyPatterns(t testing.TB, n int) (p *patterns, name string) {
	p = newPatterns()
	for i := range n {
		p.add(mustCompile(t, fmt.Sprintf("sites/%d/*/events", i)))
	}
	return p, fmt.Sprintf("sites/%d/cam-1/events", n/2)
}

func TestPatternsAllocate(t *testing.T) {
	p, name := manyPatterns(t, 1000)
	found := make([]*patternAudience, 0, 8)
	if n := testing.AllocsPerRun(100, func() { found = p.match(name, found[:0]) }); n > 0 || len(found) != 1 {
		t.Errorf("%v allocations to find %d patterns of 1000, want 0 and 1", n, len(found))
	}
}

func BenchmarkPatterns(b *testing.B) {
	for _, n := range []int{1, 100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, name := manyPatterns(b, n)
			found := make([]*patternAudience, 0, 8)
			b.ReportAllocs()
			for b.Loop() {
				found = p.match(name, found[:0])
			}
		})
	}
}

func TestAudience(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 9))
	var a audience
	want := map[uint64]bool{} // id → metadata
	indexed := false
	for range 20_000 {
		s := idle(1 + random.IntN(3*few))
		if n := len(want); n > 2*few && random.IntN(3) > 0 || random.IntN(2) == 0 {
			_, there := want[s.ID()]
			if a.remove(s) != there {
				t.Fatalf("remove of %d says %v", s, !there)
			}
			delete(want, s.ID())
		} else {
			metadata := random.IntN(2) == 0
			a.put(s, Options{Metadata: metadata}, 0)
			want[s.ID()] = metadata
		}
		indexed = indexed || a.index != nil
		if len(a.members) != len(want) || (a.index != nil) != (len(want) > few) || a.index != nil && len(a.index) != len(want) {
			t.Fatalf("%d members, %d of them in the index, want %d", len(a.members), len(a.index), len(want))
		}
		for id, metadata := range want {
			if i := a.find(idle(id)); i < 0 || a.members[i].id != id || a.members[i].Metadata != metadata {
				t.Fatalf("member %d is not found, or not as it was put", id)
			}
		}
		if i := a.find(idle(1000)); i >= 0 {
			t.Fatal("found who is not there")
		}
	}
	if !indexed {
		t.Error("there never were more than few")
	}
}

// patternsOf are the patterns that an app's connections are subscribed to.
func (h *Hub) patternsOf(app string) map[string]*patternAudience {
	if p := h.patterns[app]; p != nil {
		return p.all
	}
	return nil
}
