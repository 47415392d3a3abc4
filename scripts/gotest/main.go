// Gotest runs go test with the arguments it is given and prints what a person
// wants to read: one line for each package, the whole output of each
// failure, the reason of each skip, and a summary as the last line:
//
//	412 passed, 0 failed, 3 skipped
//
// Subtests count as tests. A package that does not compile, or that fails
// outside its tests (TestMain, a panic at exit), counts as one failure. The exit
// code is go test's own. The summary also goes to the file that
// FLEETWIRE_TEST_SUMMARY names, when it is set. GO names the go command.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	code, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run starts go test and reports on it; it returns go test's exit code.
func run(args []string, out io.Writer) (int, error) {
	cmd := exec.Command(cmp.Or(os.Getenv("GO"), "go"), append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	// With -race, a program sleeps a second before it exits, in case a goroutine has yet to
	// race. Tests end every goroutine that they start. Later options win: the caller's.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	events, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("can't start go test: %w", err)
	}
	w := bufio.NewWriter(out)
	r := newReport(w)
	readErr := r.read(events)
	// Even after an error, go test must not block on a full pipe.
	_, _ = io.Copy(io.Discard, events)
	waitErr := cmd.Wait()

	summary := r.summary()
	if path := os.Getenv("FLEETWIRE_TEST_SUMMARY"); path != "" {
		if err := os.WriteFile(path, []byte(summary+"\n"), 0o644); err != nil {
			return 1, fmt.Errorf("can't write the summary: %w", err)
		}
	}
	fmt.Fprintln(w, summary)
	if err := w.Flush(); err != nil {
		return 1, err
	}

	if exit := (*exec.ExitError)(nil); errors.As(waitErr, &exit) {
		return max(exit.ExitCode(), 1), readErr // a signal's -1 is a failure too
	}
	return 0, errors.Join(readErr, waitErr)
}
