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

// limit is how long one measurement of one system may take.
const limit = 3 * time.Minute

// Run runs the scenario so many times on each of its systems, in turns. What
// goes wrong in a measurement is in the result; an error means that ctx ended.
func (s Scenario) Run(ctx context.Context, env *system.Env, reps int, progress io.Writer) (report.Scenario, error) {
	result := report.Scenario{Name: s.Name, Title: s.Title, Systems: make([]report.System, len(s.Systems))}
	for i, name := range s.Systems {
		result.Systems[i] = report.System{Name: name, Absent: system.Absent(name)}
		if most := system.MaxConnections(); result.Systems[i].Absent == "" && s.connections > most {
			result.Systems[i].Absent = fmt.Sprintf("it takes %d connections, and a process may open %d files (ulimit -Hn)", s.connections, most+200)
		}
	}
	for rep := range reps {
		for i := range s.Systems {
			r := &result.Systems[(rep+i)%len(s.Systems)] // nobody is always first
			if r.Absent != "" {
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

// measure starts the system, measures it, and stops it.
func (s Scenario) measure(ctx context.Context, env *system.Env, rep int, result *report.System) (err error) {
	running, err := env.Start(result.Name)
	if err != nil {
		return err
	}
	defer running.Stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pool, err := load.NewPool(s.connections + 10)
	if err != nil {
		return err
	}
	defer pool.Close()
	t := &trial{ctx: ctx, rep: rep, system: running, result: result, pool: pool}
	if err = s.run(t); err != nil {
		result.Forget(rep) // half a measurement is none
		if problems := pool.Problems(); len(problems) > 0 {
			err = fmt.Errorf("%w (%s)", err, told(problems))
		}
	}
	if died := running.Died(); died != nil {
		err = died
	}
	return err
}
