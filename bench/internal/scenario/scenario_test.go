//go:build linux

package scenario

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"fleetwire/bench/internal/floor"
	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/report"
	"fleetwire/bench/internal/system"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "floor" { // a system starts this very program
		if err := floor.Serve(os.Args[2]); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func find(name string) *Scenario {
	all := All(true)
	if i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name }); i >= 0 {
		return &all[i]
	}
	return nil
}

func TestGoalsAndChartsAreAboutScenariosThatExist(t *testing.T) {
	names := map[string]bool{}
	for _, s := range All(false) {
		if names[s.Name] {
			t.Errorf("two scenarios are called %s", s.Name)
		}
		names[s.Name] = true
	}
	for _, g := range Goals {
		s := find(g.Scenario)
		if s == nil || !slices.Contains(s.Systems, g.System) || g.Over != "" && !slices.Contains(s.Systems, g.Over) {
			t.Errorf("the goal %q is about what is not measured", g.Text)
		}
	}
	for _, c := range Charts {
		for _, g := range c.Groups {
			if find(g.Scenario) == nil {
				t.Errorf("%s shows the scenario %q, which does not exist", c.File, g.Scenario)
			}
		}
	}
}

func TestDueAddsUp(t *testing.T) {
	for _, parts := range []int{1, 3, 10} {
		f := &fleet{parts: parts, writers: make([]load.Writer, 7)}
		for _, n := range []int{0, 1, 7, 100} {
			sum := int64(0)
			for _, due := range f.due(n) {
				sum += due
			}
			if sum != int64(n) {
				t.Errorf("%d messages to %d parts: %d are due", n, parts, sum)
			}
		}
	}
	// Devices 0, 3 and 6 lie in part 0; of 8 messages the eighth is device 0's again.
	if got := (&fleet{parts: 3, writers: make([]load.Writer, 7)}).due(8); !slices.Equal(got, []int64{4, 2, 2}) {
		t.Errorf("due %v", got)
	}
}

// TestOnRealProcesses goes through the scenarios that differ most, small, on all
// systems that are installed, and wants figures without a problem. The figures
// themselves mean nothing here.
func TestOnRealProcesses(t *testing.T) {
	if why := system.Absent(system.Fleetwire); why != "" {
		t.Skipf("%s: NOTHING of the benchmark is tested on real processes", why)
	}
	env, err := system.NewEnv(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, metric := range map[string]string{
		"fanout-1000": cpuPerDelivery, "ingest": messagesPerSec, "rest-4": requestsPerSec, "idle": memory, "fleet": untilAll,
		"hostile-refresh-metadata": p99, "hostile-presence": p99,
	} {
		t.Run(name, func(t *testing.T) {
			result, err := find(name).Run(t.Context(), env, 1, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range result.Systems {
				checkMeasured(t, s, metric)
			}
		})
	}
}

func checkMeasured(t *testing.T, s report.System, metric string) {
	if s.Absent != "" {
		t.Logf("%s is not measured: %s", s.Name, s.Absent)
		return
	}
	for _, p := range s.Problems {
		t.Errorf("%s: %s", s.Name, p.Text)
	}
	if m := s.Metric(metric); m == nil || m.Summary.Median <= 0 {
		t.Errorf("%s: %s is %+v", s.Name, metric, m)
	}
	if m := s.Metric(lost); m != nil && m.Summary.Max > 0 {
		t.Errorf("%s lost %v messages", s.Name, m.Summary.Max)
	}
}

func TestAScenarioThatNeedsTooManyFilesIsNotRun(t *testing.T) {
	s := *find("connect")
	s.connections = 1 << 30
	result, err := s.Run(t.Context(), nil, 1, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, y := range result.Systems {
		if system.Absent(y.Name) == "" && !strings.Contains(y.Absent, "ulimit") {
			t.Errorf("%s: %q", y.Name, y.Absent)
		}
	}
}
