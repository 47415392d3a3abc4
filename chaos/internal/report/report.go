// Package report writes what trials came to: for a person, and as the table of
// docs/operations.md.
package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/chaos/internal/trial"
)

// shown is how many findings of a row a person gets to read.
const shown = 12

// Write writes the rows, and what is wrong. It returns how many violations there are.
func Write(w io.Writer, rows []trial.Row) (violations int) {
	fmt.Fprintf(w, "%-8s %-17s %7s %7s %7s %8s %6s %5s %9s %7s %7s", "form", "fault", "acked", "refused", "unknown", "ingested", "again", "dead", "commands", "live s", "right s")
	for _, k := range books.Kinds {
		fmt.Fprintf(w, " %s", k)
	}
	fmt.Fprintln(w)
	for _, r := range rows {
		fmt.Fprintf(w, "%-8s %-17s %7d %7d %7d %8d %6d %5d %4d/%-4d %7.2f %7.2f", r.Form, r.Period.Step.Fault.Name, r.Acked, r.Refused, r.Unknown,
			r.Ingested, r.Again, r.Buried, r.Succeeded, r.Commands, r.Live.Seconds(), r.Settled.Seconds())
		for _, k := range books.Kinds {
			fmt.Fprintf(w, " %*s", len(k), amount(r, k))
		}
		fmt.Fprintln(w)
	}
	writeLive(w, rows)
	for _, r := range rows {
		found := r.Violations()
		violations += len(found)
		for i, f := range found {
			if i == shown {
				fmt.Fprintf(w, "VIOLATION %s %v: and %d more\n", r.Form, r.Period.Step, len(found)-shown)
				break
			}
			fmt.Fprintf(w, "VIOLATION %s %v: %s, %+.3fs: %s\n", r.Form, r.Period.Step, f.Kind, f.At.Sub(r.Period.Start).Seconds(), f.Text)
		}
	}
	return violations
}

// writeLive says of each fault that came several times how long nodes took to deliver again.
func writeLive(w io.Writer, rows []trial.Row) {
	took := map[string][]time.Duration{}
	for _, r := range rows {
		key := fmt.Sprintf("%-8s %-17s", r.Form, r.Period.Step.Fault.Name)
		took[key] = append(took[key], r.Live)
	}
	for _, key := range slices.Sorted(maps.Keys(took)) {
		all := took[key]
		if len(all) == 1 {
			continue
		}
		slices.Sort(all)
		at := func(part float64) float64 { return all[int(part*float64(len(all)-1)+0.5)].Seconds() }
		fmt.Fprintf(w, "%s %3d times: live again after %.2f s (median), %.2f s (p99), %.2f s (at most)\n", key, len(all), at(0.5), at(0.99), at(1))
	}
}

// amount is how many findings of a kind a row has: those that are allowed, and behind an
// exclamation mark those that are not.
func amount(r trial.Row, k books.Kind) string {
	text := "."
	if n := r.Count(k, true); n > 0 {
		text = fmt.Sprint(n)
	}
	if n := r.Count(k, false); n > 0 {
		text = strings.TrimPrefix(text, ".") + fmt.Sprintf("!%d", n)
	}
	return text
}
