//go:build linux

package scenario

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"fleetwire/bench/internal/crowd"
	"fleetwire/bench/internal/floor"
	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/report"
	"fleetwire/bench/internal/system"
)

func TestMain(m *testing.M) {
	switch { // a system and a crowd start this very program
	case len(os.Args) == 3 && os.Args[1] == "floor":
		if err := floor.Serve(os.Args[2]); err != nil {
			panic(err)
		}
	case len(os.Args) == 2 && os.Args[1] == "crowd":
		if err := crowd.Serve(); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func find(name string) *Scenario {
	all := All(true, 0)
	if i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name }); i >= 0 {
		return &all[i]
	}
	return nil
}

func TestGoalsAndChartsAreAboutScenariosThatExist(t *testing.T) {
	names := map[string]bool{}
	for _, s := range All(false, 0) {
		if names[s.Name] {
			t.Errorf("two scenarios are called %s", s.Name)
		}
		names[s.Name] = true
	}
	for _, g := range Goals {
		s := find(g.Scenario)
		if named := quick.devicesScenario(252_000); g.Scenario == named.Name {
			s = &named
		}
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
		"fanout-1000": cpuPerDelivery, "ingest": messagesPerSec, "ingest-nodes": p99, "rest-4": requestsPerSec, "command-1": commandRatio, "command-fleet": untilAnswered, "idle": memory, "fleet": untilAll, "devices-90000": untilLast,
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

func TestAScenarioThatNeedsMoreThanThereIsIsSkipped(t *testing.T) {
	for want, n := range map[string]needs{"ulimit": {connections: 1 << 30}, "GiB": {memory: 1 << 60}} {
		s := *find("connect")
		s.needs = n
		result, err := s.Run(t.Context(), nil, 1, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		for _, y := range result.Systems {
			if y.Absent == "" && !strings.Contains(y.Skipped, want) {
				t.Errorf("%s: %q, want why: %s", y.Name, y.Skipped, want)
			}
		}
	}
}

func TestDevicesFillAsManyNodesAsTheyNeed(t *testing.T) {
	for devices, want := range map[int]needs{
		0:       {connections: 18_001, nodes: 5, memory: 90_000 * memoryPerDevice},
		9_000:   {connections: 1_801, nodes: 5, memory: 9_000 * memoryPerDevice},
		252_000: {connections: 18_001, nodes: 14, memory: 252_000 * memoryPerDevice},
	} {
		s := full.devicesScenario(devices)
		want.limit = s.needs.limit
		if s.needs != want || s.needs.limit <= measureLimit {
			t.Errorf("%s needs %+v, want %+v and a longer limit", s.Name, s.needs, want)
		}
	}
}
