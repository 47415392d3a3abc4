package report

import (
	"errors"
	"fmt"
	"strings"

	"fleetwire/chaos/internal/books"
	"fleetwire/chaos/internal/plan"
	"fleetwire/chaos/internal/trial"
)

// The table in docs/operations.md lies between these lines.
const (
	Begin = "<!-- made by make chaos-table -->"
	End   = "<!-- end of the table -->"
)

const heading = "| fault | Redis | what holds | live again, s | right again, s | acked | refused | unknown | lost in the window | gaps told | sockets closed | doubled, reordered, ghosts, over a cap | ingested | of those again |\n" +
	"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"

// NotMeasured stands in the table for what no run has measured.
const NotMeasured = "not measured"

// Key is what tells a line of the table from the others: what fails, in which form, and
// what is promised.
func Key(f plan.Fault, form plan.Form) string {
	return fmt.Sprintf("| %s | %s | %s |", f.Title, form, f.Promise)
}

// Table is a document with the rows in its table. Lines of what was not tried stay.
func Table(document string, rows []trial.Row) (string, error) {
	before, rest, begins := strings.Cut(document, Begin+"\n")
	former, after, ends := strings.Cut(rest, End)
	if !begins || !ends {
		return "", errors.New("the document has no table between " + Begin + " and " + End)
	}
	measured := map[string]string{}
	for line := range strings.Lines(former) {
		for _, f := range plan.Faults {
			for _, form := range f.Forms {
				if key := Key(f, form); strings.HasPrefix(line, key) {
					measured[key] = line
				}
			}
		}
	}
	worst := map[string]trial.Row{} // of a fault that came several times
	for _, r := range rows {
		key := Key(r.Period.Step.Fault, r.Form)
		if former, is := worst[key]; !is || r.Live > former.Live {
			worst[key] = r
		}
	}
	for key, r := range worst {
		measured[key] = key + cells(r) + "\n"
	}
	var table strings.Builder
	table.WriteString(heading)
	for _, f := range plan.Faults {
		for _, form := range f.Forms {
			line, is := measured[Key(f, form)]
			if !is {
				line = Key(f, form) + " " + NotMeasured + strings.Repeat(" |", 11) + "\n"
			}
			table.WriteString(line)
		}
	}
	return before + Begin + "\n" + table.String() + End + after, nil
}

func cells(r trial.Row) string {
	bad := 0
	for _, k := range []books.Kind{books.Doubled, books.Reordered, books.Undead, books.Ghost, books.Missing, books.Overrun, books.Underrun, books.Miscount, books.Stuck} {
		bad += r.Count(k, true) + r.Count(k, false)
	}
	both := func(k books.Kind) int { return r.Count(k, true) + r.Count(k, false) }
	return fmt.Sprintf(" %.1f | %.1f | %d | %d | %d | %d | %d | %d | %d | %d | %d |", r.Live.Seconds(), r.Settled.Seconds(),
		r.Acked, r.Refused, r.Unknown, both(books.Lost), both(books.Skipped), both(books.Closed), bad, r.Ingested, r.Again)
}
