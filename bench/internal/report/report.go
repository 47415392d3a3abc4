// Package report holds the results of a run: as JSON, as a table, as charts, and
// held against the goals.
package report

import (
	"encoding/json"
	"os"
	"slices"

	"fleetwire/bench/internal/stats"
)

// Run is everything that one run of the benchmark found.
type Run struct {
	Date      string            `json:"date"`
	Machine   map[string]string `json:"machine"` // and the versions of what was measured
	Quick     bool              `json:"quick"`   // a smoke run: the figures mean nothing
	Reps      int               `json:"reps"`
	Scenarios []Scenario        `json:"scenarios"`
	Goals     []Verdict         `json:"goals"`
}

// Scenario is what was found in one scenario.
type Scenario struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Systems []System `json:"systems"`
}

// System is what was found of one system.
type System struct {
	Name     string    `json:"name"`
	Absent   string    `json:"absent,omitempty"`  // the program that is not there
	Skipped  string    `json:"skipped,omitempty"` // why this machine cannot measure it
	Metrics  []*Metric `json:"metrics,omitempty"`
	Problems []Remark  `json:"problems,omitempty"`
	Notes    []Remark  `json:"notes,omitempty"` // what is worth knowing and nothing wrong
}

// Metric is one figure, by repetition.
type Metric struct {
	Name    string        `json:"name"`
	Unit    string        `json:"unit"`
	Summary stats.Summary `json:"summary"`
	Values  []Value       `json:"values"`
}

// Value is a figure of one repetition.
type Value struct {
	Rep   int     `json:"rep"`
	Value float64 `json:"value"`
}

// Remark is what was noticed in one repetition.
type Remark struct {
	Rep  int    `json:"rep"`
	Text string `json:"text"`
}

// Add takes a figure of a repetition.
func (s *System) Add(rep int, name, unit string, value float64) {
	m := s.Metric(name)
	if m == nil {
		m = &Metric{Name: name, Unit: unit}
		s.Metrics = append(s.Metrics, m)
	}
	m.Values = append(m.Values, Value{rep, value})
	m.Summary = stats.Summarize(m.floats())
}

// Metric finds a figure by name, nil if there is none.
func (s *System) Metric(name string) *Metric {
	i := slices.IndexFunc(s.Metrics, func(m *Metric) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return s.Metrics[i]
}

// Forget drops the figures of a repetition.
func (s *System) Forget(rep int) {
	for _, m := range s.Metrics {
		m.Values = slices.DeleteFunc(m.Values, func(v Value) bool { return v.Rep == rep })
		m.Summary = stats.Summarize(m.floats())
	}
	s.Metrics = slices.DeleteFunc(s.Metrics, func(m *Metric) bool { return len(m.Values) == 0 })
}

func (m *Metric) floats() (all []float64) {
	for _, v := range m.Values {
		all = append(all, v.Value)
	}
	return all
}

// find returns a figure, nil if it was not measured.
func (r *Run) find(scenario, system, metric string) *Metric {
	for i := range r.Scenarios {
		if r.Scenarios[i].Name != scenario {
			continue
		}
		for j := range r.Scenarios[i].Systems {
			if s := &r.Scenarios[i].Systems[j]; s.Name == system {
				return s.Metric(metric)
			}
		}
	}
	return nil
}

// Save writes the run as JSON.
func (r *Run) Save(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// Load reads what Save has written.
func Load(path string) (*Run, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Run)
	return r, json.Unmarshal(b, r)
}
