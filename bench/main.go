//go:build linux

// Bench measures Fleetwire on this machine, beside NATS, Centrifugo and Mosquitto
// where they are there and beside the floor, a loop of bare write(2). It starts what
// it measures, and ends it. docs/performance.md tells how each figure is taken.
//
//	make bench-peers                              builds NATS 2.15 and Centrifugo 6
//	go run ./bench -json results.json             over an hour
//	go run ./bench -quick                         a smoke run, two minutes
//	go run ./bench -plot results.json -out docs/img
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"fleetwire/bench/internal/crowd"
	"fleetwire/bench/internal/floor"
	"fleetwire/bench/internal/report"
	"fleetwire/bench/internal/scenario"
	"fleetwire/bench/internal/system"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "floor" { // the benchmark starts itself so
		fail(floor.Serve(os.Args[2]))
	}
	if len(os.Args) == 2 && os.Args[1] == "crowd" {
		if err := crowd.Serve(); err != nil {
			fail(err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		stop()
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	reps := fs.Int("reps", 5, "how often each measurement is repeated")
	quick := fs.Bool("quick", false, "a smoke run: everything once and small; the figures mean nothing")
	only := fs.String("only", "", "run the scenarios whose name matches the regular expression")
	systems := fs.String("systems", "", "measure the systems whose name matches the regular expression")
	devices := fs.Int("devices", 0, "how many devices the scenario devices-… has (default 90000, with -quick 200)")
	save := fs.String("json", "", "write the results to the file, too")
	plot := fs.String("plot", "", "run nothing; draw the charts of the results in the file")
	out := fs.String("out", "docs/img", "with -plot: the directory for the charts")
	list := fs.Bool("list", false, "list the scenarios")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: everything is given by flags, see -h", fs.Arg(0))
	}
	if *plot != "" {
		r, err := report.Load(*plot)
		if err != nil {
			return fmt.Errorf("-plot: %w", err)
		}
		return report.Plot(r, scenario.Charts, scenario.Goals, *out)
	}
	if *reps < 1 {
		return fmt.Errorf("-reps %d: must be at least 1", *reps)
	}
	if *devices < 0 {
		return fmt.Errorf("-devices %d: must be at least 1, or 0 for as many as usual", *devices)
	}
	if *quick {
		*reps = 1
	}
	chosen, err := choose(scenario.All(*quick, *devices), *only, *systems)
	if err != nil {
		return err
	}
	if *list {
		for _, s := range chosen {
			fmt.Printf("%-24s %s (%s)\n", s.Name, s.Title, strings.Join(s.Systems, ", "))
		}
		return nil
	}
	return measure(ctx, chosen, *reps, *quick, *save)
}

// choose keeps the scenarios whose names match, with the systems whose names match.
func choose(all []scenario.Scenario, only, systems string) (chosen []scenario.Scenario, err error) {
	scenarios, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	names, err := regexp.Compile(systems)
	if err != nil {
		return nil, fmt.Errorf("-systems: %w", err)
	}
	known := false
	for _, s := range all {
		if !scenarios.MatchString(s.Name) {
			continue
		}
		known = true
		s.Systems = slices.DeleteFunc(slices.Clone(s.Systems), func(name string) bool { return !names.MatchString(name) })
		if len(s.Systems) > 0 {
			chosen = append(chosen, s)
		}
	}
	switch {
	case !known:
		return nil, fmt.Errorf("-only %s: no scenario has such a name; -list lists them", only)
	case len(chosen) == 0:
		return nil, fmt.Errorf("-systems %s: the scenarios measure no system with such a name; -list lists their systems", systems)
	}
	return chosen, nil
}

func measure(ctx context.Context, chosen []scenario.Scenario, reps int, quick bool, save string) error {
	dir, err := os.MkdirTemp("", "fleetwire-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	env, err := system.NewEnv(dir)
	if err != nil {
		return err
	}
	r := &report.Run{Date: time.Now().UTC().Format(time.RFC3339), Machine: system.Machine(), Quick: quick, Reps: reps}
	r.WriteMachine(os.Stdout)
	for _, s := range chosen {
		result, err := s.Run(ctx, env, reps, os.Stderr)
		r.Scenarios = append(r.Scenarios, result)
		report.WriteScenario(os.Stdout, result)
		if err != nil {
			return err
		}
		r.Judge(scenario.Goals)
		if save != "" { // after each: half a run is better than none
			if err := r.Save(save); err != nil {
				return fmt.Errorf("-json: %w", err)
			}
		}
	}
	r.WriteGoals(os.Stdout)
	return nil
}
