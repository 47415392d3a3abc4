package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// sinkLines are what /metrics has of sinks, without buckets.
func sinkLines(m *Metrics) []string {
	return slices.DeleteFunc(lines(m, "fleetwire_sink_"), func(line string) bool { return strings.Contains(line, "_bucket{") })
}

func TestSinkMetrics(t *testing.T) {
	m := NewMetrics()
	if got := sinkLines(m); len(got) != 0 {
		t.Errorf("without a sink there are %q", got)
	}
	s := m.Sink("app", "crm")
	s.Delivered(3)
	s.Refused(2)
	s.GivenBack(1)
	s.Failed()
	s.Took(20 * time.Millisecond)
	s.Does(1)
	s.Holds(640)
	want := []string{
		`fleetwire_sink_delivery_seconds_sum{app="app",group="crm"} 0.02`, `fleetwire_sink_delivery_seconds_count{app="app",group="crm"} 1`,
		`fleetwire_sink_failures_total{app="app",group="crm"} 1`, `fleetwire_sink_group_bytes{app="app",group="crm"} 640`,
		`fleetwire_sink_messages_total{app="app",group="crm",result="delivered"} 3`, `fleetwire_sink_messages_total{app="app",group="crm",result="given_back"} 1`,
		`fleetwire_sink_messages_total{app="app",group="crm",result="refused"} 2`, `fleetwire_sink_state{app="app",group="crm"} 1`,
	}
	if got := sinkLines(m); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	again := m.Sink("app", "crm") // a changed sink begins before the former has ended
	s.Gone()
	if got := sinkLines(m); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	again.Gone()
	if got := sinkLines(m); len(got) != 0 {
		t.Errorf("without a sink there are %q", got)
	}
}

// However many sinks there are, they have a bounded number of time series.
func TestManySinks(t *testing.T) {
	m := NewMetrics()
	var all []*Sink
	for i := range 150 {
		s := m.Sink("app", fmt.Sprint("g", i))
		s.Delivered(1)
		s.Does(0)
		all = append(all, s)
	}
	got := sinkLines(m)
	if !slices.Contains(got, `fleetwire_sink_messages_total{app="other",group="other",result="delivered"} 50`) || len(got) != 100*7+6 {
		t.Errorf("%d lines: %q", len(got), got[max(0, len(got)-3):])
	}
	for _, s := range all {
		s.Gone()
	}
	if got := sinkLines(m); len(got) != 6 {
		t.Errorf("%d lines: %q", len(got), got)
	}
}
