//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetwire/bench/internal/scenario"
)

func TestBadArgumentsAreNamed(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"fanout"}, `"fanout"`},
		{[]string{"-reps", "0"}, "-reps 0"},
		{[]string{"-only", "("}, "-only"},
		{[]string{"-only", "no such scenario"}, "-list lists them"},
		{[]string{"-systems", "("}, "-systems"},
		{[]string{"-systems", "carrier pigeon"}, "-list lists their systems"},
		{[]string{"-devices", "-1"}, "-devices -1"},
		{[]string{"-plot", filepath.Join(t.TempDir(), "absent.json")}, "-plot"},
	} {
		if err := run(t.Context(), tt.args); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want an error with %q", tt.args, err, tt.want)
		}
	}
}

func TestPlotDrawsWhatWasMeasured(t *testing.T) {
	dir := t.TempDir()
	results := filepath.Join(dir, "results.json")
	if err := os.WriteFile(results, []byte(`{"scenarios":[{"name":"burst","systems":[{"name":"fleetwire","metrics":[
		{"name":"deliveries/s","unit":"","summary":{"median":3e6,"min":2e6,"max":4e6},"values":[{"rep":0,"value":3e6}]}]}]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"-plot", results, "-out", filepath.Join(dir, "img")}); err != nil {
		t.Fatal(err)
	}
	drawn, err := filepath.Glob(filepath.Join(dir, "img", "*.svg"))
	if err != nil || len(drawn) != 1 || filepath.Base(drawn[0]) != "burst.svg" {
		t.Errorf("drew %q, %v; want burst.svg alone", drawn, err)
	}
}

func TestChooseTakesScenariosAndSystems(t *testing.T) {
	chosen, err := choose(scenario.All(true, 9000), "^(rest-1|devices-9000|slow)$", "^(fleetwire|nodes|centrifugo)$")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range chosen {
		got = append(got, s.Name+": "+strings.Join(s.Systems, " "))
	}
	if want := "rest-1: fleetwire centrifugo, slow: fleetwire centrifugo, devices-9000: nodes"; strings.Join(got, ", ") != want {
		t.Errorf("%q, want %s", got, want)
	}
}
