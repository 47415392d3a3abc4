package telemetry

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// lines are what /metrics has that begins so.
func lines(m *Metrics, begins string) (found []string) {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, begins) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// book has the counts of apps, and which there are.
type book struct {
	counts map[string]*AppCount
	gone   map[string]bool
}

func newBook(m *Metrics) *book {
	b := &book{map[string]*AppCount{}, map[string]bool{}}
	m.CountApps(func() (all []AppCount) {
		for _, c := range b.counts {
			all = append(all, *c)
		}
		return all
	}, func(app string) bool { return !b.gone[app] })
	return b
}

func TestAppMetrics(t *testing.T) {
	m := NewMetrics()
	b := newBook(m)
	if got := lines(m, "fleetwire_app_"); len(got) != 0 {
		t.Errorf("at the start there are %q", got)
	}
	b.counts["a"] = &AppCount{App: "a", Published: 1, Refused: 2}
	b.counts["b"] = &AppCount{App: "b", Deliveries: 7}
	want := []string{
		`fleetwire_app_deliveries_total{app="a"} 0`, `fleetwire_app_deliveries_total{app="b"} 7`,
		`fleetwire_app_publishes_total{app="a",result="ok"} 1`, `fleetwire_app_publishes_total{app="a",result="refused"} 2`,
		`fleetwire_app_publishes_total{app="b",result="ok"} 0`, `fleetwire_app_publishes_total{app="b",result="refused"} 0`,
	}
	if got := lines(m, "fleetwire_app_"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// However many apps there are, they have a bounded number of time series. Those that are gone make
// room for new ones, and no counter falls.
func TestManyApps(t *testing.T) {
	m := NewMetrics()
	b := newBook(m)
	for i := range 150 {
		app := fmt.Sprintf("app%03d", i)
		b.counts[app] = &AppCount{App: app, Published: 2}
	}
	ok := func(app string) string { return `fleetwire_app_publishes_total{app="` + app + `",result="ok"} ` }
	got := lines(m, "fleetwire_app_")
	if len(got) != 101*3 || !slices.Contains(got, ok("other")+"100") || !slices.Contains(got, ok("app099")+"2") {
		t.Errorf("%d lines: %q", len(got), got[max(0, len(got)-3):])
	}
	for i := range 10 {
		b.gone[fmt.Sprintf("app%03d", i)] = true // they had series
	}
	b.gone["app140"] = true // it had none
	b.counts["app140"].Published = 3
	b.counts["new"] = &AppCount{App: "new", Published: 1}
	b.gone["late"] = true
	b.counts["late"] = &AppCount{App: "late", Published: 9} // it was gone before it was seen
	got = lines(m, "fleetwire_app_publishes_total")
	if len(got) != 92*2 || !slices.Contains(got, ok("new")+"1") || !slices.Contains(got, ok("other")+"101") {
		t.Errorf("%d lines: %q", len(got), got)
	}
}

func TestDeliveryTime(t *testing.T) {
	m := NewMetrics()
	m.Written(3*time.Millisecond, true)
	m.Written(-time.Second, false) // the other clock is ahead
	m.Written(20*time.Millisecond, false)
	got := lines(m, "fleetwire_delivery_seconds")
	for _, want := range []string{
		`fleetwire_delivery_seconds_bucket{from="this_node",le="0.0025"} 0`, `fleetwire_delivery_seconds_bucket{from="this_node",le="0.005"} 1`,
		`fleetwire_delivery_seconds_bucket{from="another",le="0.00025"} 1`, `fleetwire_delivery_seconds_count{from="another"} 2`, `fleetwire_delivery_seconds_sum{from="another"} 0.02`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("lacks %s in %q", want, got)
		}
	}
}
