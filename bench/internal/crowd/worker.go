//go:build linux

// Package crowd holds more connections than one process may open files: worker
// processes on this machine, each with a pool of its own, do what the benchmark
// tells them over their standard input and output.
package crowd

import (
	"context"
	"errors"
	"io"
	"net/rpc"
	"os"
	"time"

	"fleetwire/bench/internal/load"
)

// Worker is what a process of the crowd does. Its methods are called by net/rpc, one
// after the other.
type Worker struct {
	specs []load.Spec
	pool  *load.Pool
	ready []int
	due   int64 // messages in all, since Expect
}

// Serve is the main function of a worker. It returns when the benchmark has closed
// its side, or has died.
func Serve() error {
	w := new(Worker)
	defer func() {
		if w.pool != nil {
			w.pool.Close()
		}
	}()
	server := rpc.NewServer()
	if err := server.Register(w); err != nil {
		return err
	}
	server.ServeConn(struct {
		io.ReadCloser
		io.Writer
	}{os.Stdin, os.Stdout})
	return nil
}

// Prepare takes the connections that Open is to open. Sending them is slow.
func (w *Worker) Prepare(specs []load.Spec, _ *struct{}) (err error) {
	if w.pool != nil {
		return errors.New("a worker opens one set of connections")
	}
	w.specs = specs
	w.pool, err = load.NewPool(len(specs))
	return err
}

// OpenOrder tells a worker how many connections it opens at a time, and when it gives up.
type OpenOrder struct {
	Parallel int
	Limit    time.Duration
}

// Open opens the connections.
func (w *Worker) Open(o OpenOrder, result *load.Opened) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.Limit)
	defer cancel()
	*result, err = w.pool.Open(ctx, w.specs, o.Parallel)
	w.ready = result.Ready
	return err
}

// Expect makes ready for Await: so many messages are due to each connection.
func (w *Worker) Expect(messages int64, _ *struct{}) error {
	w.due = w.pool.Delivered() + messages*int64(len(w.ready))
	w.pool.Expect(w.due)
	return nil
}

// Arrival is when the last message was read (see load.MachineTime).
type Arrival struct {
	Last    time.Duration
	Stalled bool // some did not come
}

// Await waits for the messages, unless none comes for so long.
func (w *Worker) Await(stall time.Duration, a *Arrival) error {
	last, err := w.pool.Await(context.Background(), w.due, stall)
	if errors.Is(err, load.ErrStalled) {
		a.Stalled = true
		return nil
	}
	a.Last = load.MachineTime(last)
	return err
}

// Count is what the connections of a worker have got.
type Count struct {
	Received []int64
	Problems map[string]int
}

// Count counts.
func (w *Worker) Count(_ struct{}, c *Count) error {
	c.Received, c.Problems = w.pool.Received(w.ready), w.pool.Problems()
	return nil
}
