// Package program runs the main of a program that serves: it hands signals on, keeps
// a log whose reader went away or stands still from ending or stopping the process,
// and sets the exit status.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"fleetwire/pkg/telemetry"
)

// lastWords bounds how long the end of the process waits for the last lines to be
// written, among them the one that says why it ends.
const lastWords = time.Second

// Process is how a program hears and speaks.
type Process struct {
	Stdout, Stderr *telemetry.Output
	// Hurry is closed by a second SIGINT or SIGTERM: to end at once.
	Hurry <-chan struct{}
	// Reload receives after a SIGHUP: to read configuration again.
	Reload <-chan struct{}
}

// Main runs a program whose name begins its error line. ctx ends with the first SIGINT
// or SIGTERM. The process exits with 0 if run returns nil or flag.ErrHelp, with what an error's
// ExitCode() int says, and with 1 otherwise. An error without a text prints no line. With -version anywhere on the command line, Main prints which build the
// program is, and runs nothing. Main does not return.
func Main(name string, run func(ctx context.Context, p *Process, args []string) error) {
	if slices.Contains(os.Args[1:], "-version") || slices.Contains(os.Args[1:], "--version") {
		info, _ := debug.ReadBuildInfo()
		fmt.Println(versionLine(name, info))
		os.Exit(0)
	}
	// Go ends a process that writes to a closed pipe on standard output or error.
	signal.Ignore(syscall.SIGPIPE)
	p := &Process{Stdout: telemetry.NewOutput(os.Stdout), Stderr: telemetry.NewOutput(os.Stderr)}
	log.SetOutput(p.Stderr) // of libraries that log past us
	ctx, stop := p.listen(context.Background())
	code := 0
	func() {
		defer p.flush() // also in front of a panic's text
		code = p.end(name, run(ctx, p, os.Args[1:]))
	}()
	stop()
	os.Exit(code)
}

// end tells why the program ends, and returns the exit status.
func (p *Process) end(name string, err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(p.Stderr, "%s: %s\n", name, text)
	}
	if coded, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); ok {
		return coded.ExitCode()
	}
	return 1
}

// flush waits for both outputs together.
func (p *Process) flush() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Stdout.Flush(lastWords)
	}()
	p.Stderr.Flush(lastWords)
	<-done
}
