// Package trial puts one form of Redis through one plan of faults, with a fleet at work,
// and judges the books.
package trial

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/chaos/internal/fleet"
	"fleetwire/chaos/internal/plan"
	"fleetwire/chaos/internal/stage"
)

const (
	// patience is how long anything may take before the run gives up on it.
	patience = 45 * time.Second
	// quiet is how long the last messages have to arrive. All of it passes, for messages that come twice.
	quiet = 2 * time.Second
	// ingested is how long a group has until all of it is acknowledged and its counts are right:
	// nodes look after counts once a minute.
	ingested = 90 * time.Second
)

// Options say what to try.
type Options struct {
	Context context.Context //nolint:containedctx // the options are an argument
	Form    plan.Form
	Plan    []plan.Step
	Nodes   int
	Size    fleet.Size
	Program string        // fanout, as stage.Build makes it
	Slack   time.Duration // is added to the bounds of time, for a busy machine
	Fsync   string        // appendfsync of the form server; "": always
	Hasten  bool          // nodes look after counts that are off at once, since the run is short
	Say     func(format string, args ...any)
}

// A Row is what one step came to.
type Row struct {
	books.Row
	Form    plan.Form
	Live    time.Duration // from the end of the fault until all nodes delivered to each other
	Settled time.Duration // from then until presence was right
}

// Run is one trial. An error says that it could not go on; violations are in the rows.
func Run(t testing.TB, o Options) ([]Row, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(o.Context)
	defer cancel()
	document := filepath.Join(t.TempDir(), "apps.json")
	hook, err := fleet.NewReceiver()
	if err != nil {
		return nil, err
	}
	defer hook.Close()
	url := ""
	if o.Size.Hook {
		url = hook.URL()
	}
	directory, err := fleet.Apps(document, len(o.Plan), o.Size.Lease, url)
	if err != nil {
		return nil, err
	}
	o.Size.Slack = o.Slack
	r := &run{Options: o, ctx: ctx, books: books.New()}
	r.stage = stage.Start(t, stage.Options{Form: o.Form, Nodes: o.Nodes, Program: o.Program, Apps: document, Fsync: o.Fsync})
	r.fleet, err = fleet.Start(ctx, r.stage, r.books, directory, hook, o.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: the fleet does not start: %w", o.Form, err)
	}
	defer r.fleet.Stop()
	for i, step := range o.Plan {
		if most := o.Size.Messages; i > 0 && most > 0 && r.fleet.Acked() >= most {
			break
		}
		if err := r.step(i, step); err != nil {
			return nil, fmt.Errorf("%s: step %d, %v: %w", o.Form, i, step, err)
		}
		if err := ctx.Err(); err != nil { // an operator ends the run
			return nil, err
		}
	}
	if err := r.fleet.AwaitAcked(); err != nil {
		return nil, err
	}
	r.fleet.Quiet()
	sent := r.fleet.Acked()
	time.Sleep(quiet)
	took, drained, err := r.fleet.Ingested(r.stage.Redis(), ingested+o.Slack, o.Hasten)
	if err != nil {
		return nil, fmt.Errorf("%s: the group: %w", o.Form, err)
	}
	if err := r.fleet.Remembered(); err != nil {
		return nil, fmt.Errorf("%s: GET …/messages: %w", o.Form, err)
	}
	r.fleet.Stop()
	rows := r.books.Judge()
	rows[len(rows)-1].Findings = append(rows[len(rows)-1].Findings, drained...)
	in, again, buried := 0, 0, 0
	for i := range rows {
		r.rows[i].Row = rows[i]
		in, again, buried = in+rows[i].Ingested, again+rows[i].Again, buried+rows[i].Buried
	}
	r.Say("%-8s %d messages acked; ingesters got %d, the last %.2fs after the end; %d deliveries were repetitions, %d messages are dead letters", o.Form, sent, in, took.Seconds(), again, buried)
	return r.rows, nil
}

type run struct {
	Options
	ctx   context.Context
	books *books.Books
	stage *stage.Stage
	fleet *fleet.Fleet
	rows  []Row
}

func (r *run) step(i int, step plan.Step) error {
	time.Sleep(step.Calm)
	p := books.Period{Step: step, Start: time.Now()}
	capped, err := r.fleet.StartCapped(i)
	if err != nil {
		return err
	}
	defer capped.Stop()
	lift, err := r.inject(step, &p)
	if err != nil {
		return err
	}
	hold := step.Hold
	if step.Fault.Outlasts {
		hold += r.Size.Lease
	}
	churn := time.AfterFunc(hold/2, r.fleet.Churn)
	defer churn.Stop()
	injected := time.Now()
	if step.Fault.Loses == plan.OnItsNode && step.Hold > 0 {
		at, err := r.fleet.AwaitLive(step.Node, patience)
		p.Other = append(p.Other, r.bound("the other nodes delivered", at.Sub(injected), step.Fault.Live, err)...)
	}
	time.Sleep(time.Until(injected.Add(hold)))
	mend, err := lift()
	if err != nil {
		return err
	}
	p.Lifted = time.Now()
	p.Live, err = r.fleet.AwaitLive(-1, patience)
	row := Row{Form: r.Form, Live: p.Live.Sub(p.Lifted)}
	bound := step.Fault.Live
	if step.Fault.Closes { // the probes of that node wait for their turn to connect
		bound = patience
	}
	p.Other = append(p.Other, r.bound("all nodes delivered", row.Live, bound, err)...)
	mend()
	if _, away := r.fleet.AwaitAll(patience); len(away) > 0 {
		p.Other = append(p.Other, books.Finding{Kind: books.Missing, At: p.Live, Count: len(away), Text: fmt.Sprintf("these are not connected and subscribed again: %q", away)})
	}
	settled, ghosts := r.fleet.AwaitPresence(step.Fault.Settle + r.Slack)
	row.Settled = settled.Sub(p.Live)
	p.Other = append(p.Other, ghosts...)
	capped.Stop()
	p.Other = append(p.Other, capped.Judge(step.Fault.Data)...)
	for _, n := range r.stage.Nodes {
		if !n.Running() {
			return fmt.Errorf("node %d ended by itself; it said: %s", n.Index, n.LastWords())
		}
	}
	p.End = time.Now()
	r.books.Add(p)
	r.rows = append(r.rows, row)
	r.Say("%-8s %-28v live %5.2fs, settled %5.2fs, %s", r.Form, step, row.Live.Seconds(), row.Settled.Seconds(), capped.Said())
	return nil
}

// inject begins a step's fault, and returns what ends it.
func (r *run) inject(step plan.Step, p *books.Period) (func() (func(), error), error) {
	if !step.Fault.Fleet {
		return r.stage.Inject(step)
	}
	lift, found, err := r.fleet.Inject(step)
	p.Other = append(p.Other, found...)
	return func() (func(), error) { lift(); return func() {}, nil }, err
}

// bound finds what took too long.
func (r *run) bound(what string, took, bound time.Duration, err error) []books.Finding {
	if err == nil && took <= bound+r.Slack {
		return nil
	}
	text := fmt.Sprintf("%s after %v, the bound is %v", what, took.Round(time.Millisecond), bound)
	if err != nil {
		text += ": " + err.Error()
	}
	return []books.Finding{{Kind: books.Late, At: time.Now(), Text: text}}
}
