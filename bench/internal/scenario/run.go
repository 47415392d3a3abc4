//go:build linux

package scenario

import (
	"context"
	"fmt"
	"io"
	"time"

	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/report"
	"fleetwire/bench/internal/system"
)

// measureLimit is how long one measurement of one system may take, unless the
// scenario says otherwise.
const measureLimit = 3 * time.Minute

// Run runs the scenario so many times on each of its systems, in turns. Errors
// of a measurement are in the result; an error means that ctx ended.
func (s Scenario) Run(ctx context.Context, env *system.Env, reps int, progress io.Writer) (report.Scenario, error) {
	result := report.Scenario{Name: s.Name, Title: s.Title, Systems: make([]report.System, len(s.Systems))}
	for i, name := range s.Systems {
		result.Systems[i] = report.System{Name: name, Absent: system.Absent(name)}
		if result.Systems[i].Absent == "" {
			result.Systems[i].Skipped = s.needs.unmet()
		}
	}
	for rep := range reps {
		for i := range s.Systems {
			r := &result.Systems[(rep+i)%len(s.Systems)] // no system is always first
			if r.Absent != "" || r.Skipped != "" {
				continue
			}
			fmt.Fprintf(progress, "%s %d/%d %s\n", s.Name, rep+1, reps, r.Name)
			if err := s.measure(ctx, env, rep, r); err != nil {
				if ctx.Err() != nil {
					return result, ctx.Err()
				}
				r.Problems = append(r.Problems, report.Remark{Rep: rep, Text: err.Error()})
			}
		}
	}
	return result, nil
}

// unmet says why the machine cannot run the scenario, or "".
func (n needs) unmet() string {
	if most := system.MaxConnections(); n.connections > most {
		return fmt.Sprintf("a process would hold %d connections, and may open %d files (ulimit -Hn)", n.connections, most+200)
	}
	if there := system.AvailableMemory(); n.memory > there {
		return fmt.Sprintf("it takes up to %.1f GiB of memory, and %.1f GiB are available", gibibytes(n.memory), gibibytes(there))
	}
	return ""
}

func gibibytes(n int64) float64 { return float64(n) / (1 << 30) }

// measure starts the system, measures it, and stops it.
func (s Scenario) measure(ctx context.Context, env *system.Env, rep int, result *report.System) (err error) {
	running, err := env.Start(result.Name, max(s.needs.nodes, 2))
	if err != nil {
		return err
	}
	defer running.Stop()
	ctx, cancel := context.WithTimeout(ctx, max(s.needs.limit, measureLimit))
	defer cancel()
	pool, err := load.NewPool(s.needs.connections + 10)
	if err != nil {
		return err
	}
	defer pool.Close()
	t := &trial{ctx: ctx, rep: rep, system: running, result: result, pool: pool}
	if err = s.run(t); err != nil {
		result.Forget(rep) // half a measurement is none
		if problems := pool.Problems(); len(problems) > 0 {
			err = fmt.Errorf("%w (%s)", err, summary(problems))
		}
	}
	if died := running.Died(); died != nil {
		err = died
	}
	return err
}
