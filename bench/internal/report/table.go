package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"fleetwire/bench/internal/stats"
)

// WriteScenario prints a scenario as a table: a line for each system, each cell
// the median and, in brackets, the range.
func WriteScenario(w io.Writer, s Scenario) {
	fmt.Fprintf(w, "\n%s: %s\n", s.Name, s.Title)
	columns := []*Metric{}
	for i := range s.Systems {
		for _, m := range s.Systems[i].Metrics {
			if !slices.ContainsFunc(columns, func(c *Metric) bool { return c.Name == m.Name }) {
				columns = append(columns, m)
			}
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "\t")
	for _, c := range columns {
		fmt.Fprintf(t, "%s\t", strings.TrimSuffix(c.Name+", "+c.Unit, ", "))
	}
	fmt.Fprintln(t)
	for i := range s.Systems {
		fmt.Fprintf(t, "  %s\t", s.Systems[i].Name)
		if s.Systems[i].Absent != "" {
			fmt.Fprintf(t, "absent: %s\n", s.Systems[i].Absent)
			continue
		}
		if s.Systems[i].Skipped != "" {
			fmt.Fprintf(t, "SKIPPED: %s\n", s.Systems[i].Skipped)
			continue
		}
		for _, c := range columns {
			if m := s.Systems[i].Metric(c.Name); m != nil {
				fmt.Fprint(t, summary(m.Summary))
			} else {
				fmt.Fprint(t, "–")
			}
			fmt.Fprint(t, "\t")
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	for i := range s.Systems {
		for _, p := range s.Systems[i].Problems {
			fmt.Fprintf(w, "  ! %s, repetition %d: %s\n", s.Systems[i].Name, p.Rep+1, p.Text)
		}
		for _, n := range s.Systems[i].Notes {
			fmt.Fprintf(w, "  · %s, repetition %d: %s\n", s.Systems[i].Name, n.Rep+1, n.Text)
		}
	}
}

// WriteGoals prints what was reached of the goals.
func (r *Run) WriteGoals(w io.Writer) {
	if len(r.Goals) == 0 {
		return
	}
	fmt.Fprintln(w, "\ngoals")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range r.Goals {
		outcome := "missed"
		switch {
		case v.Unknown != "":
			fmt.Fprintf(t, "  ?\t%s\t%s\t%s\n", v.Goal, v.Bound, v.Unknown)
			continue
		case v.Met:
			outcome = "met"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", outcome, v.Goal, v.Bound, summary(v.Reached))
	}
	_ = t.Flush()
	if r.Quick {
		fmt.Fprintln(w, "  a quick run: the figures mean nothing")
	}
}

func summary(s stats.Summary) string {
	if s.Min == s.Max {
		return Number(s.Median)
	}
	return fmt.Sprintf("%s [%s–%s]", Number(s.Median), Number(s.Min), Number(s.Max))
}

// Number is a figure with three digits that matter, in thousands or millions
// where it is large.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return digits(v/1e6) + " M"
	case a >= 1e4:
		return digits(v/1e3) + " k"
	}
	return digits(v)
}

func digits(v float64) string {
	switch a := math.Abs(v); {
	case v == math.Trunc(v) || a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.2g", v)
	}
}

// WriteMachine prints where the figures come from.
func (r *Run) WriteMachine(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(r.Machine)) {
		fmt.Fprintf(w, "%-13s %s\n", name, r.Machine[name])
	}
}
