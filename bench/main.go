//go:build linux

// Bench measures Fleetwire on this machine, beside NATS and Mosquitto where they
// are installed and beside the floor, a loop of bare write(2). It starts what it
// measures, and ends it. docs/performance.md tells how each figure is taken.
//
//	go run ./bench -json results.json             about half an hour
//	go run ./bench -quick                         a smoke run, a minute
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
	"syscall"
	"time"

	"fleetwire/bench/internal/floor"
	"fleetwire/bench/internal/report"
	"fleetwire/bench/internal/scenario"
	"fleetwire/bench/internal/system"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "floor" { // the benchmark starts itself so
		fail(floor.Serve(os.Args[2]))
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
	matching, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if *reps < 1 {
		return fmt.Errorf("-reps %d: must be at least 1", *reps)
	}
	if *quick {
		*reps = 1
	}
	var chosen []scenario.Scenario
	for _, s := range scenario.All(*quick) {
		if matching.MatchString(s.Name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-only %s: no scenario has such a name; -list lists them", *only)
	}
	if *list {
		for _, s := range chosen {
			fmt.Printf("%-14s %s\n", s.Name, s.Title)
		}
		return nil
	}
	return measure(ctx, chosen, *reps, *quick, *save)
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
