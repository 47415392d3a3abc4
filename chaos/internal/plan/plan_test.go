package plan

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
)

// A seed that failed is of use only if it makes the same plan again.
func TestTheSameSeedMakesTheSamePlan(t *testing.T) {
	for _, form := range Forms {
		for seed := range uint64(50) {
			if a, b := Make(seed, form, 3), Make(seed, form, 3); !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d, %s: %v and %v", seed, form, a, b)
			}
		}
		if a, b := Make(1, form, 3), Make(2, form, 3); reflect.DeepEqual(a, b) {
			t.Errorf("%s: the seeds 1 and 2 make the same plan, %v", form, a)
		}
	}
}

// The order and the chances of a plan are fixed: a change of this line makes every seed
// that anybody has noted worthless.
func TestASeedKeepsItsPlan(t *testing.T) {
	steps, err := Short(7, Server, 3, []string{"link-slow", "node-killed"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(steps), "[link-slow node=2 hold=3s delay=75ms node-killed node=1 hold=1s]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A plan has each fault of its form once, within its bounds.
func TestAPlanHasEveryFault(t *testing.T) {
	for _, form := range Forms {
		for seed := range uint64(20) {
			var got, want []string
			for _, s := range Make(seed, form, 3) {
				got = append(got, s.Fault.Name)
				if s.Hold < s.Fault.Hold[0] || s.Hold > s.Fault.Hold[1] {
					t.Errorf("seed %d: %v lasts %v, want %v", seed, s, s.Hold, s.Fault.Hold)
				}
				if s.Node < 0 || s.Node > 2 || s.Node > 0 && !s.Fault.Targets {
					t.Errorf("seed %d: %v hits node %d", seed, s, s.Node)
				}
			}
			for _, f := range Of(form) {
				want = append(want, f.Name)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s, seed %d: %q, want %q", form, seed, got, want)
			}
		}
	}
}

func TestEveryFaultIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Faults {
		if f.Title == "" || f.Promise == "" || len(f.Forms) == 0 || f.Live == 0 || f.Settle == 0 || f.Hold[0] > f.Hold[1] || seen[f.Name] {
			t.Errorf("%+v lacks something, or is there twice", f)
		}
		seen[f.Name] = true
		if f.Loses == OnItsNode && !f.Targets {
			t.Errorf("%s costs subscribers on its node, and hits none", f.Name)
		}
	}
	if _, err := Short(1, Server, 2, []string{"no such fault"}); err == nil {
		t.Error("a plan with a fault that nobody knows")
	}
}
