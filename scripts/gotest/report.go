package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output, in Package's place
	Test       string
	Output     string
}

// A test that has begun and not ended; Test is "" for the package itself.
type testID struct{ Package, Test string }

// A report turns events into text. Packages are tested side by side and their
// events come mixed; a test's output is held until it ends.
type report struct {
	w                       *bufio.Writer
	passed, failed, skipped int
	open                    map[testID][]string // output so far, by running test
	failedIn                map[string]bool     // packages that have a failed test
}

func newReport(w *bufio.Writer) *report {
	return &report{w: w, open: map[testID][]string{}, failedIn: map[string]bool{}}
}

// read consumes events until their end.
func (r *report) read(events io.Reader) error {
	in := bufio.NewReader(events)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				r.add(e)
			} else {
				r.print([]string{string(line)}) // go's own words: show them
			}
			if flushErr := r.w.Flush(); flushErr != nil {
				return flushErr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "run":
		r.open[id] = nil
	case "output":
		r.open[id] = append(r.open[id], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e)
		}
		delete(r.open, id)
	}
}

func (r *report) endTest(e event) {
	lines := r.open[testID{e.Package, e.Test}]
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped++
		fmt.Fprintf(r.w, "skip\t%s %s\n", e.Package, e.Test)
		r.print(slices.DeleteFunc(lines, isFraming))
	case "fail":
		r.failed++
		r.failedIn[e.Package] = true
		fmt.Fprintf(r.w, "FAIL\t%s %s\n", e.Package, e.Test)
		r.print(slices.DeleteFunc(lines, isFraming))
	}
}

// endPackage prints go test's own line for the package ("ok …"). When it failed,
// what the package printed outside its tests comes first, and the output of
// tests that never ended: a panic or a time-out is told there.
func (r *report) endPackage(e event) {
	lines := r.open[testID{e.Package, ""}]
	if e.Action != "fail" {
		for _, line := range lines {
			if strings.HasPrefix(line, "ok ") {
				r.print([]string{line})
			}
		}
		return
	}
	var unfinished []testID
	for id := range r.open {
		if id.Package == e.Package && id.Test != "" {
			unfinished = append(unfinished, id)
		}
	}
	slices.SortFunc(unfinished, func(a, b testID) int { return strings.Compare(a.Test, b.Test) })
	for _, id := range unfinished {
		r.failed++
		r.failedIn[e.Package] = true
		fmt.Fprintf(r.w, "FAIL\t%s %s (did not end)\n", id.Package, id.Test)
		r.print(slices.DeleteFunc(r.open[id], isFraming))
		delete(r.open, id)
	}
	if !r.failedIn[e.Package] {
		r.failed++
	}
	r.print(slices.DeleteFunc(lines, func(line string) bool { return line == "PASS\n" || line == "FAIL\n" }))
}

// isFraming tells the lines with which go test marks where a test begins, goes
// on and ends; they mean nothing once the output is sorted by test.
func isFraming(line string) bool {
	return strings.HasPrefix(line, "=== ") || strings.HasPrefix(strings.TrimLeft(line, " "), "--- ")
}

func (r *report) print(lines []string) {
	for _, line := range lines {
		fmt.Fprint(r.w, line)
	}
}

func (r *report) summary() string {
	s := fmt.Sprintf("%d passed, %d failed", r.passed, r.failed)
	if r.skipped > 0 {
		s += fmt.Sprintf(", %d skipped", r.skipped)
	}
	return s
}
