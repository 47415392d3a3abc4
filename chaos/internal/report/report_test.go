package report

import (
	"strings"
	"testing"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/chaos/internal/plan"
	"fleetwire/chaos/internal/trial"
)

func row(t *testing.T, fault string, form plan.Form, found ...books.Finding) trial.Row {
	t.Helper()
	f, known := plan.ByName(fault)
	if !known {
		t.Fatalf("no fault is called %q", fault)
	}
	return trial.Row{Form: form, Live: 1500 * time.Millisecond, Settled: 2 * time.Second,
		Row: books.Row{Period: books.Period{Step: plan.Step{Fault: f}}, Acked: 11, Refused: 12, Unknown: 13, Ingested: 9, Again: 2, Findings: found}}
}

func TestWriteSaysWhatIsAllowedAndWhatIsNot(t *testing.T) {
	var out strings.Builder
	n := Write(&out, []trial.Row{
		row(t, "redis-killed", plan.Server, books.Finding{Kind: books.Lost, Allowed: true}, books.Finding{Kind: books.Lost, Allowed: true}),
		row(t, "link-slow", plan.Replica, books.Finding{Kind: books.Overrun, Count: 3, Text: "three too many"}),
	})
	if n != 1 || !strings.Contains(out.String(), "VIOLATION replica link-slow node=0: overrun") || !strings.Contains(out.String(), "three too many") {
		t.Errorf("%d violations:\n%s", n, out.String())
	}
	if strings.Contains(out.String(), "VIOLATION server") || !strings.Contains(out.String(), "!3") {
		t.Errorf("it says:\n%s", out.String())
	}
}

func TestWriteShowsSomeOfMany(t *testing.T) {
	var out strings.Builder
	n := Write(&out, []trial.Row{row(t, "redis-killed", plan.Server, make([]books.Finding, 3*shown)...)})
	if n != 3*shown || strings.Count(out.String(), "VIOLATION") != shown+1 || !strings.Contains(out.String(), "and 24 more") {
		t.Errorf("%d violations:\n%s", n, out.String())
	}
}

func TestWriteSaysHowLongItTookSeveralTimes(t *testing.T) {
	var rows []trial.Row
	for i := range 100 {
		r := row(t, "failover-killed", plan.Replica)
		r.Live = time.Duration(100-i) * 10 * time.Millisecond
		rows = append(rows, r)
	}
	var out strings.Builder
	Write(&out, rows)
	if want := "100 times: live again after 0.51 s (median), 0.99 s (p99), 1.00 s (at most)"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out.String())
	}
	table, err := Table(Begin+"\n"+End, rows)
	if want := "| sockets stay; lost is what the replica had not got | 1.0 |"; err != nil || !strings.Contains(table, want) {
		t.Errorf("no %q, %v:\n%s", want, err, table)
	}
}

func TestTableKeepsWhatWasNotTried(t *testing.T) {
	document := "before\n" + Begin + "\n" + End + "\nafter\n"
	first, err := Table(document, []trial.Row{row(t, "redis-killed", plan.Server)})
	if err != nil {
		t.Fatal(err)
	}
	second, err := Table(first, []trial.Row{row(t, "link-slow", plan.Replica, books.Finding{Kind: books.Lost, Allowed: true})})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"comes back empty | server |", " 1.5 | 2.0 | 11 | 12 | 13 | 0 | 0 | 0 | 0 | 9 | 2 |\n",
		"each way | replica |", " 1.5 | 2.0 | 11 | 12 | 13 | 1 | 0 | 0 | 0 | 9 | 2 |\n", NotMeasured,
	} {
		if !strings.Contains(second, want) {
			t.Errorf("no %q in\n%s", want, second)
		}
	}
	if !strings.HasPrefix(second, "before\n") || !strings.HasSuffix(second, "\nafter\n") {
		t.Errorf("the rest has changed:\n%s", second)
	}
	for _, bad := range []string{"", Begin + "\n", End} {
		if _, err := Table(bad, nil); err == nil {
			t.Errorf("%q has a table", bad)
		}
	}
}
