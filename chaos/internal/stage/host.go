package stage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
)

// Host is a testing.TB for a program that is no test: package redistest starts servers
// for one. Fatal and Skip end Run.
type Host struct {
	testing.TB // nil: what is not here is not needed
	name       string
	log        io.Writer
	cleanups   []func()
	failed     bool
}

// ErrSkipped is in the error of Run where something is not installed.
var ErrSkipped = errors.New("not run")

// ended is what Fatal and Skip panic with.
type ended struct{ why error }

// Run calls f with a Host, and then what f gave to Cleanup, the last first. The error is
// what f returned, or what ended it.
func Run(name string, log io.Writer, f func(testing.TB) error) (err error) {
	h := &Host{name: name, log: log}
	defer func() {
		r := recover()
		for _, c := range slices.Backward(h.cleanups) {
			c()
		}
		if e, is := r.(ended); is {
			err = e.why
		} else if r != nil {
			panic(r)
		} else if err == nil && h.failed {
			err = errors.New("an error was logged above")
		}
	}()
	return f(h)
}

// Name is the run's.
func (h *Host) Name() string { return h.name }

// Helper does nothing.
func (h *Host) Helper() {}

// Failed says whether Error was called.
func (h *Host) Failed() bool { return h.failed }

// Cleanup is done when Run ends.
func (h *Host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

// Log writes a line.
func (h *Host) Log(args ...any) { fmt.Fprintln(h.log, args...) }

// Logf writes a line.
func (h *Host) Logf(format string, args ...any) { fmt.Fprintf(h.log, format+"\n", args...) }

// Error writes a line, and goes on.
func (h *Host) Error(args ...any) {
	h.failed = true
	h.Log(args...)
}

// Errorf writes a line, and goes on.
func (h *Host) Errorf(format string, args ...any) { h.Error(fmt.Sprintf(format, args...)) }

// Fatal ends Run.
func (h *Host) Fatal(args ...any) { panic(ended{fmt.Errorf("%s", fmt.Sprint(args...))}) }

// Fatalf ends Run.
func (h *Host) Fatalf(format string, args ...any) { panic(ended{fmt.Errorf(format, args...)}) }

// Skip ends Run.
func (h *Host) Skip(args ...any) { panic(ended{fmt.Errorf("%w: %s", ErrSkipped, fmt.Sprint(args...))}) }

// Skipf ends Run.
func (h *Host) Skipf(format string, args ...any) { h.Skip(fmt.Sprintf(format, args...)) }

// TempDir makes a folder that goes with Run.
func (h *Host) TempDir() string {
	dir, err := os.MkdirTemp("", "fleetwire-chaos-")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
