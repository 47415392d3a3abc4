//go:build linux

package crowd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"fleetwire/bench/internal/load"
)

// Crowd is connections spread over worker processes.
type Crowd struct{ workers []*worker }

type worker struct {
	cmd    *exec.Cmd
	client *rpc.Client
	exited chan struct{}
}

// Start starts so many workers. Close the crowd.
func Start(workers int) (*Crowd, error) {
	c := new(Crowd)
	for range workers {
		w, err := startWorker()
		if err != nil {
			c.Close()
			return nil, err
		}
		c.workers = append(c.workers, w)
	}
	return c, nil
}

// startWorker starts this very program again; its main function calls Serve.
func startWorker() (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &worker{cmd: exec.Command(self, "crowd"), exited: make(chan struct{})}
	w.cmd.Stderr = os.Stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	in, err := w.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel kills it when the thread that started it ends
		defer runtime.UnlockOSThread()
		err := w.cmd.Start()
		started <- err
		if err == nil {
			_, _ = w.cmd.Process.Wait()
		}
		close(w.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	w.client = rpc.NewClient(struct {
		io.Reader
		io.WriteCloser
	}{out, in})
	return w, nil
}

// Close ends the workers, and with them their connections.
func (c *Crowd) Close() {
	for _, w := range c.workers {
		_ = w.client.Close()
		_ = w.cmd.Process.Kill()
		<-w.exited
	}
}

// each calls a method of all workers at once and waits for all answers.
func each[A, R any](ctx context.Context, c *Crowd, method string, args func(i int) A) ([]R, error) {
	answers := make([]R, len(c.workers))
	calls := make([]*rpc.Call, len(c.workers))
	for i, w := range c.workers {
		calls[i] = w.client.Go("Worker."+method, args(i), &answers[i], make(chan *rpc.Call, 1))
	}
	var failures []error
	for i, call := range calls {
		select {
		case <-call.Done:
			if call.Error != nil {
				failures = append(failures, fmt.Errorf("worker %d: %w", i+1, call.Error))
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return answers, errors.Join(failures...)
}

// Prepare gives each worker its part of the connections.
func (c *Crowd) Prepare(ctx context.Context, specs []load.Spec) error {
	n := len(c.workers)
	_, err := each[[]load.Spec, struct{}](ctx, c, "Prepare", func(i int) []load.Spec { return specs[i*len(specs)/n : (i+1)*len(specs)/n] })
	return err
}

// Open opens the connections, so many at a time in each worker. It waits until the
// subscriptions of all are live or have failed. Numbers in Ready are their worker's.
func (c *Crowd) Open(ctx context.Context, parallel int, limit time.Duration) (load.Opened, error) {
	opened, err := each[OpenOrder, load.Opened](ctx, c, "Open", always(OpenOrder{parallel, limit}))
	all := load.Opened{Problems: map[string]int{}}
	for _, o := range opened {
		all.Ready = append(all.Ready, o.Ready...)
		all.Failed += o.Failed
		all.Took = max(all.Took, o.Took)
		add(all.Problems, o.Problems)
	}
	return all, err
}

// Expect makes ready for Await: so many messages are due to each connection. It
// comes before what causes them.
func (c *Crowd) Expect(ctx context.Context, messages int64) error {
	_, err := each[int64, struct{}](ctx, c, "Expect", always(messages))
	return err
}

// Await waits until all messages have come that Expect was told of, and returns when
// the last of them was read, as load.MachineTime tells it. ErrStalled: some worker
// got none for so long.
func (c *Crowd) Await(ctx context.Context, stall time.Duration) (last time.Duration, err error) {
	arrivals, err := each[time.Duration, Arrival](ctx, c, "Await", always(stall))
	for _, a := range arrivals {
		if err == nil && a.Stalled {
			err = load.ErrStalled
		}
		last = max(last, a.Last)
	}
	return last, err
}

// Count returns how many messages each connection has got, and what went wrong on
// how many.
func (c *Crowd) Count(ctx context.Context) (received []int64, problems map[string]int, err error) {
	counts, err := each[struct{}, Count](ctx, c, "Count", always(struct{}{}))
	problems = map[string]int{}
	for _, n := range counts {
		received = append(received, n.Received...)
		add(problems, n.Problems)
	}
	return received, problems, err
}

func always[A any](args A) func(int) A { return func(int) A { return args } }

func add(all, some map[string]int) {
	for why, times := range some {
		all[why] += times
	}
}
