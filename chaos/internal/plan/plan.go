package plan

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// A Step is one fault of a plan, with all that was left to chance.
type Step struct {
	Fault Fault
	Node  int           // that it hits, if Fault.Targets
	Hold  time.Duration // how long it lasts
	Delay time.Duration // of link-slow
	Calm  time.Duration // between the end of the former and this one
	Pick  uint32        // which of several masters
}

func (s Step) String() string {
	text := s.Fault.Name
	if s.Fault.Targets {
		text += fmt.Sprintf(" node=%d", s.Node)
	}
	if s.Hold > 0 {
		text += " hold=" + s.Hold.String()
	}
	if s.Delay > 0 {
		text += " delay=" + s.Delay.String()
	}
	return text
}

// Make is the plan of a seed for a form with so many nodes: each of the form's faults, in
// an order of the seed's.
func Make(seed uint64, form Form, nodes int) []Step {
	r := random(seed, form)
	faults := Of(form)
	r.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	return steps(r, faults, nodes)
}

// Short is the plan of the named faults, in their order: for a run of seconds. Each lasts
// as briefly as it may.
func Short(seed uint64, form Form, nodes int, names []string) ([]Step, error) {
	var faults []Fault
	for _, name := range names {
		f, ok := ByName(name)
		if !ok {
			return nil, fmt.Errorf("no fault is called %q", name)
		}
		f.Hold[1] = f.Hold[0]
		faults = append(faults, f)
	}
	return steps(random(seed, form), faults, nodes), nil
}

// random differs from form to form, so that a form alone has the plan that it has among
// all.
func random(seed uint64, form Form) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(form))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

func steps(r *rand.Rand, faults []Fault, nodes int) (all []Step) {
	for _, f := range faults {
		s := Step{Fault: f, Hold: between(r, f.Hold[0], f.Hold[1]), Calm: between(r, 500*time.Millisecond, 1500*time.Millisecond)}
		s.Pick = r.Uint32N(1000)
		if f.Targets {
			s.Node = r.IntN(nodes)
		}
		if f.Name == "link-slow" {
			s.Delay = between(r, 20*time.Millisecond, 120*time.Millisecond)
		}
		all = append(all, s)
	}
	return all
}

func between(r *rand.Rand, least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(r.Int64N(int64(most-least)/int64(time.Millisecond)+1))*time.Millisecond
}
