package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// run is two systems in one scenario, three repetitions each.
func run() *Run {
	ours, theirs := System{Name: "fleetwire"}, System{Name: "nats"}
	for rep, v := range []float64{2, 4, 3} {
		ours.Add(rep, "CPU", "µs", v)
		theirs.Add(rep, "CPU", "µs", []float64{4, 4, 12}[rep])
	}
	theirs.Problems = append(theirs.Problems, Remark{1, "it lost 3 & more"})
	return &Run{Date: "2026-11-22", Reps: 3, Scenarios: []Scenario{{
		Name: "fanout", Title: "to all",
		Systems: []System{ours, theirs, {Name: "mosquitto", Absent: "mosquitto is not installed"}, {Name: "nodes", Skipped: "too little memory"}},
	}}}
}

var goals = []Goal{
	{Text: "absolute", Scenario: "fanout", System: "fleetwire", Metric: "CPU", Bound: 3},
	{Text: "too strict", Scenario: "fanout", System: "fleetwire", Metric: "CPU", Bound: 2.9},
	{Text: "ratio", Scenario: "fanout", System: "fleetwire", Metric: "CPU", Over: "nats", Bound: 0.5},
	{Text: "at least", Scenario: "fanout", System: "fleetwire", Metric: "CPU", Over: "nats", AtLeast: true, Bound: 0.6},
	{Text: "no peer", Scenario: "fanout", System: "fleetwire", Metric: "CPU", Over: "mosquitto", Bound: 1},
	{Text: "not run", Scenario: "idle", System: "fleetwire", Metric: "CPU", Bound: 1},
}

func TestJudge(t *testing.T) {
	r := run()
	r.Judge(goals)
	if len(r.Goals) != 5 {
		t.Fatalf("%d verdicts, want 5: nothing is said about a scenario that was not run", len(r.Goals))
	}
	// The ratios of the repetitions are 0.5, 1 and 0.25.
	for i, want := range []Verdict{{Met: true}, {}, {Met: true}, {}, {Unknown: "mosquitto was not measured"}} {
		if got := r.Goals[i]; got.Met != want.Met || got.Unknown != want.Unknown {
			t.Errorf("%s: %+v", got.Goal, got)
		}
	}
	if s := r.Goals[2].Reached; s.Median != 0.5 || s.Min != 0.25 || s.Max != 1 {
		t.Errorf("ratios within each repetition: %+v", s)
	}
}

func TestForgetTakesARepetitionBack(t *testing.T) {
	s := run().Scenarios[0].Systems[0]
	s.Forget(1)
	if m := s.Metric("CPU"); len(m.Values) != 2 || m.Summary.Max != 3 {
		t.Errorf("%+v", m)
	}
	s.Forget(0)
	s.Forget(2)
	if s.Metric("CPU") != nil {
		t.Error("a figure without values is left")
	}
}

func TestSaveAndLoad(t *testing.T) {
	r := run()
	r.Judge(goals)
	path := filepath.Join(t.TempDir(), "results.json")
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v; want %+v", got, err, r)
	}
}

func TestTablesHideNothing(t *testing.T) {
	var out bytes.Buffer
	r := run()
	r.Judge(goals)
	WriteScenario(&out, r.Scenarios[0])
	r.WriteGoals(&out)
	for _, want := range []string{"CPU, µs", "3 [2–4]", "4 [4–12]", "absent: mosquitto is not installed", "SKIPPED: too little memory", "! nats, repetition 2: it lost 3 & more", "missed", "met", "≤ 0.5 × nats", "0.50 [0.25–1]"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 3: "3", 0.16: "0.16", 0.0123: "0.012", 4.567: "4.57", 45.67: "45.7", 456.7: "457",
		9999: "9999", 20_000: "20 k", 123_456: "123 k", 3_812_345: "3.81 M", -0.5: "-0.50",
	} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestPlot(t *testing.T) {
	dir := t.TempDir()
	charts := []Chart{
		{File: "cpu.svg", Title: "CPU <1>", Metric: "CPU", Groups: []Group{{"to all", "fanout"}, {"never run", "idle"}}},
		{File: "nothing.svg", Title: "nothing", Metric: "latency", Groups: []Group{{"to all", "fanout"}}},
	}
	if err := Plot(run(), charts, goals, dir); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "cpu.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("not XML: %v", err)
		}
	}
	for _, want := range []string{"CPU &lt;1&gt;", ">fleetwire<", ">nats<", "3 [2–4] µs", "goal: ≤ 0.50 × nats", "prefers-color-scheme: dark"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("no %q in %s", want, svg)
		}
	}
	if strings.Contains(string(svg), "never run") {
		t.Error("a group without bars is drawn")
	}
	if _, err := os.Stat(filepath.Join(dir, "nothing.svg")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a chart of nothing: %v", err)
	}
}
