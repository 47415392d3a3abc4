//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
