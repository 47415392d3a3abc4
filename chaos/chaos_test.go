package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/chaos/internal/fleet"
	"fleetwire/chaos/internal/plan"
	"fleetwire/chaos/internal/report"
	"fleetwire/chaos/internal/stage"
	"fleetwire/chaos/internal/trial"
	"fleetwire/pkg/redisconn/redistest"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// The short form of make chaos: a fixed seed, a small fleet, and the faults that take
// seconds.
func TestShort(t *testing.T) {
	const seed = 1
	dir := t.TempDir()
	if err := stage.Build(dir); err != nil {
		t.Fatal(err)
	}
	for name, short := range map[string]struct {
		form   plan.Form
		faults []string
	}{
		"server":           {plan.Server, []string{"redis-stopped", "link-deaf", "redis-full", "redis-cut"}},
		"server and nodes": {plan.Server, []string{"redis-restarted", "ingester-paused", "node-killed"}},
		"replica":          {plan.Replica, []string{"failover-planned", "failover-killed", "ingester-killed", "group-full", "sink-killed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps, err := plan.Short(seed, short.form, 2, short.faults)
			if err != nil {
				t.Fatal(err)
			}
			size := fleet.Small
			size.Hook = short.form == plan.Replica // a node that is killed keeps a sink waiting for 30 s
			// The bounds of time are make chaos's: here many tests share the machine.
			rows, err := trial.Run(t, trial.Options{Context: t.Context(), Form: short.form, Plan: steps, Nodes: 2, Size: size, Hasten: true,
				Program: stage.Program(dir), Slack: 20 * time.Second, Say: t.Logf})
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if n := report.Write(&out, rows); n > 0 {
				t.Errorf("%d violations (make chaos SEED=… tries more):\n%s", n, out.String())
			}
			for _, r := range rows {
				if r.Acked == 0 || r.Deliveries == 0 || r.Succeeded == 0 || r.Ingested == 0 {
					t.Errorf("%v: the fleet did not work: %d acked, %d delivered, %d commands, %d ingested", r.Period.Step, r.Acked, r.Deliveries, r.Succeeded, r.Ingested)
				}
			}
		})
	}
}

func TestBadArgumentsAreNamed(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"now"}, `"now"`},
		{[]string{"-times", "0"}, "-times 0"},
		{[]string{"-messages", "-1"}, "-messages -1"},
		{[]string{"-appendfsync", "now"}, `"now"`},
		{[]string{"-forms", "server,carrier-pigeon"}, "carrier-pigeon"},
		{[]string{"-faults", "("}, "-faults"},
		{[]string{"-faults", "^no such fault$"}, "-list lists them"},
	} {
		if err := run(context.Background(), tt.args, new(strings.Builder)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want an error with %q", tt.args, err, tt.want)
		}
	}
}

func TestListHasEveryFault(t *testing.T) {
	var out strings.Builder
	if err := run(context.Background(), []string{"-list"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, f := range plan.Faults {
		if !strings.Contains(out.String(), f.Promise) {
			t.Errorf("-list has no %s", f.Name)
		}
	}
}

// Every fault has a row in docs/operations.md for each form, with its promise, and the
// table has no other row.
func TestTheDocumentHasEveryPromise(t *testing.T) {
	document, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	made, err := report.Table(string(document), nil)
	if err != nil {
		t.Fatal(err)
	}
	if made != string(document) {
		t.Errorf("the table of docs/operations.md is not as make chaos-table makes it")
	}
}

// Sentences of docs/operations.md that promise something of faults, and the faults that try
// them. A promise that no fault tries says why.
func TestEveryPromiseIsTried(t *testing.T) {
	b, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	document := string(b)
	tried := map[string]bool{}
	for _, p := range promises {
		if !strings.Contains(document, p.text) {
			t.Errorf("docs/operations.md does not promise any more: %q", p.text)
		}
		if len(p.faults) == 0 && p.untried == "" {
			t.Errorf("%q: no fault tries it, and nothing says why", p.text)
		}
		for _, name := range p.faults {
			if _, known := plan.ByName(name); !known {
				t.Errorf("%q: no fault is called %q", p.text, name)
			}
			tried[name] = true
		}
	}
	for _, f := range plan.Faults {
		if !tried[f.Name] {
			t.Errorf("no promise is tried by %s", f.Name)
		}
	}
	for _, section := range []string{"## When Redis goes away", "### What channels remember after a failover", "### What a group can lose"} {
		for _, cell := range firstCells(document, section) {
			if !slices.ContainsFunc(promises, func(p promise) bool {
				return strings.HasPrefix(p.text, "| "+cell+" |") || strings.HasPrefix(cell, strings.TrimPrefix(p.text, "| "))
			}) {
				t.Errorf("%s promises something of %q: add it to the promises, with the faults that try it", section, cell)
			}
		}
	}
}

// firstCells are those of the hand-written tables of a section.
func firstCells(document, section string) (cells []string) {
	_, rest, _ := strings.Cut(document, section+"\n")
	rule := false
	for line := range strings.Lines(rest) {
		switch {
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, report.Begin):
			return cells
		case strings.HasPrefix(line, "| ---"):
			rule = true
		case !strings.HasPrefix(line, "|"):
			rule = false
		case rule:
			cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
			cells = append(cells, cell)
		}
	}
	return cells
}
