package report

import (
	"fmt"

	"fleetwire/bench/internal/stats"
)

// Goal is a bound on a figure of ours, or on its ratio to another system's in
// the same repetition.
type Goal struct {
	Text                     string
	Scenario, System, Metric string
	Over                     string // the other system, "": the figure itself is bounded
	AtLeast                  bool   // the bound is a lower one
	Bound                    float64
}

// Verdict is a goal and what was reached. The median decides.
type Verdict struct {
	Goal    string        `json:"goal"`
	Bound   string        `json:"bound"`
	Reached stats.Summary `json:"reached"`
	Met     bool          `json:"met"`
	Unknown string        `json:"unknown,omitempty"` // why nothing can be said
}

// Judge holds the run against the goals whose scenarios it has.
func (r *Run) Judge(goals []Goal) {
	r.Goals = nil
	for _, g := range goals {
		if r.has(g.Scenario) {
			r.Goals = append(r.Goals, r.judge(g))
		}
	}
}

func (r *Run) has(scenario string) bool {
	for _, s := range r.Scenarios {
		if s.Name == scenario {
			return true
		}
	}
	return false
}

func (r *Run) judge(g Goal) Verdict {
	v := Verdict{Goal: g.Text, Bound: fmt.Sprintf("≤ %g", g.Bound)}
	if g.AtLeast {
		v.Bound = fmt.Sprintf("≥ %g", g.Bound)
	}
	ours := r.find(g.Scenario, g.System, g.Metric)
	if ours == nil {
		v.Unknown = g.System + " was not measured"
		return v
	}
	values := ours.floats()
	if g.Over != "" {
		v.Bound += " × " + g.Over
		theirs := r.find(g.Scenario, g.Over, g.Metric)
		if theirs == nil {
			v.Unknown = g.Over + " was not measured"
			return v
		}
		values = ratios(ours, theirs)
	}
	if len(values) == 0 {
		v.Unknown = "no repetition measured both"
		return v
	}
	v.Reached = stats.Summarize(values)
	v.Met = v.Reached.Median <= g.Bound
	if g.AtLeast {
		v.Met = v.Reached.Median >= g.Bound
	}
	return v
}

// ratios divides what was measured in the same repetition, minutes apart at most.
func ratios(ours, theirs *Metric) (all []float64) {
	for _, o := range ours.Values {
		for _, t := range theirs.Values {
			if o.Rep == t.Rep && t.Value != 0 {
				all = append(all, o.Value/t.Value)
			}
		}
	}
	return all
}
