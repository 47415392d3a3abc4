// Chaos starts Fleetwire's nodes on Redis in each of its forms, with a fleet of devices and
// backends at work, and injects faults: it kills, stops, cuts, slows, fills, empties and fails
// over. Its books hold what the fleet sent, was answered and heard, and at the end it
// says what was lost, came twice, came out of order, or was counted wrongly. Costs
// that docs/operations.md allows are no violations.
//
//	go run ./chaos                      all faults of all forms
//	go run ./chaos -seed 42             the plan of a seed once more
//	go run ./chaos -forms server -faults 'redis-.*'
//	go run ./chaos -list                the faults, and what is promised of each
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fleetwire/chaos/internal/fleet"
	"fleetwire/chaos/internal/plan"
	"fleetwire/chaos/internal/report"
	"fleetwire/chaos/internal/stage"
	"fleetwire/chaos/internal/trial"
)

const (
	// nodes is how many a run has.
	nodes = 3
	// limit bounds a run of one plan in each form; it takes some minutes.
	limit = 30 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		stop()
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

type settings struct {
	seed   uint64
	times  int
	forms  []plan.Form
	faults *regexp.Regexp
	slack  time.Duration
	docs   string
	sent   int
	fsync  string
	list   bool
}

func parse(args []string) (s settings, err error) {
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.Uint64Var(&s.seed, "seed", 0, "the seed of the plan; 0 takes one at random")
	fs.IntVar(&s.times, "times", 1, "so many plans one after the other in each form: the seed's, and those of the seeds that follow")
	forms := fs.String("forms", "", "forms of Redis, separated by commas: "+names(plan.Forms)+" (default all)")
	faults := fs.String("faults", "", "inject the faults whose name matches the regular expression")
	fs.DurationVar(&s.slack, "slack", 0, "what is added to the bounds of time, for a busy machine")
	fs.StringVar(&s.docs, "docs", "", "write the results into the table of this copy of docs/operations.md")
	fs.IntVar(&s.sent, "messages", 0, "have so many messages acked in all, as fast as it goes, from 200 devices over two nodes; faults come until then")
	fs.StringVar(&s.fsync, "appendfsync", "always", "how the form server appends: always, or everysec")
	fs.BoolVar(&s.list, "list", false, "list the faults")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	if fs.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q: everything is given by flags, see -h", fs.Arg(0))
	}
	if s.sent < 0 {
		return s, fmt.Errorf("-messages %d: must be at least 1, or 0 for a fleet of the usual size", s.sent)
	}
	if s.fsync != "always" && s.fsync != "everysec" {
		return s, fmt.Errorf("-appendfsync %q: must be always or everysec", s.fsync)
	}
	if s.times < 1 {
		return s, fmt.Errorf("-times %d: must be at least 1", s.times)
	}
	s.forms = plan.Forms
	if *forms != "" {
		s.forms = nil
		for name := range strings.SplitSeq(*forms, ",") {
			if !slices.Contains(plan.Forms, plan.Form(name)) {
				return s, fmt.Errorf("-forms: %q is no form of Redis; known are %s", name, names(plan.Forms))
			}
			s.forms = append(s.forms, plan.Form(name))
		}
	}
	if s.faults, err = regexp.Compile(*faults); err != nil {
		return s, fmt.Errorf("-faults: %w", err)
	}
	if !slices.ContainsFunc(plan.Faults, func(f plan.Fault) bool { return s.faults.MatchString(f.Name) }) {
		return s, fmt.Errorf("-faults %s: no fault has such a name; -list lists them", *faults)
	}
	for s.seed == 0 {
		s.seed = rand.Uint64N(1_000_000)
	}
	return s, nil
}

func names(forms []plan.Form) string {
	all := make([]string, len(forms))
	for i, f := range forms {
		all[i] = string(f)
	}
	return strings.Join(all, ",")
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	if s.list {
		for _, f := range plan.Faults {
			fmt.Fprintf(out, "%-17s %s (%s)\n%-17s promise: %s\n", f.Name, f.Title, names(f.Forms), "", f.Promise)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.times)*limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "fleetwire-chaos-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := stage.Build(dir); err != nil {
		return err
	}
	fmt.Fprintf(out, "seed %d\n", s.seed)
	var rows []trial.Row
	for _, form := range s.forms {
		steps := s.plan(form)
		if len(steps) == 0 {
			continue
		}
		err = stage.Run("chaos", out, func(t testing.TB) error {
			of, err := trial.Run(t, trial.Options{Context: ctx, Form: form, Plan: steps, Nodes: s.nodes(), Size: s.size(), Program: stage.Program(dir), Slack: s.slack, Fsync: s.fsync,
				Say: func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }})
			rows = append(rows, of...)
			return err
		})
		switch {
		case errors.Is(err, stage.ErrSkipped):
			fmt.Fprintf(out, "%s: %v\n", form, err)
		case err != nil:
			return fmt.Errorf("seed %d: %w", s.seed, err)
		}
	}
	if len(rows) == 0 {
		return errors.New("nothing was run: no form that was asked for has such a fault, or could be started")
	}
	violations := report.Write(out, rows)
	if s.docs != "" {
		if err := document(s.docs, rows); err != nil {
			return fmt.Errorf("-docs: %w", err)
		}
	}
	if violations > 0 {
		return fmt.Errorf("%d violations; the plan once more: make chaos SEED=%d", violations, s.seed)
	}
	return nil
}

func (s settings) nodes() int {
	if s.sent > 0 {
		return 2
	}
	return nodes
}

func (s settings) size() fleet.Size {
	if s.sent == 0 {
		return fleet.Full
	}
	size := fleet.Proof
	size.Messages = s.sent
	return size
}

// plan is what is tried in a form.
func (s settings) plan(form plan.Form) (steps []plan.Step) {
	for i := range s.times {
		steps = append(steps, plan.Make(s.seed+uint64(i), form, s.nodes())...)
	}
	for i := range steps {
		// Such a server answers while it does not write to its file, as long as it flushes it.
		steps[i].Fault.Data = steps[i].Fault.Data || steps[i].Fault.Name == "redis-restarted" && s.fsync == "everysec"
	}
	return slices.DeleteFunc(steps, func(p plan.Step) bool { return !s.faults.MatchString(p.Fault.Name) })
}

// document writes the rows into the table of a document.
func document(path string, rows []trial.Row) error {
	former, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	next, err := report.Table(string(former), rows)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(next), 0o644)
}
