package telemetry

import (
	"slices"
	"testing"
	"time"
)

// A survey replaces the former, and goes with nil: nothing stays of groups and apps that are gone.
func TestSurveyed(t *testing.T) {
	m := NewMetrics()
	shown := func() []string { return append(lines(m, "fleetwire_app_"), lines(m, "fleetwire_group_")...) }
	if got := shown(); len(got) != 0 {
		t.Errorf("before a survey there are %q", got)
	}
	m.Surveyed(&Survey{Apps: []AppUse{{App: "gone"}}, Groups: []GroupState{{App: "gone", Group: "g"}}})
	m.Surveyed(&Survey{
		Apps:   []AppUse{{App: "a", Connections: 4, Messages: 5, Capped: true, MaxConnections: 6, MaxMessages: 7}, {App: "free", Connections: 1, MaxConnections: 6, MaxMessages: 7}},
		Groups: []GroupState{{App: "a", Group: "g", Lag: 1, Pending: 2, Dead: 3, Bytes: 4, MaxBytes: 5, OldestAge: 1500 * time.Millisecond}},
	})
	want := []string{
		`fleetwire_app_connections{app="a"} 4`, `fleetwire_app_connections{app="free"} 1`, `fleetwire_app_max_connections{app="a"} 6`, `fleetwire_app_max_messages{app="a"} 7`,
		`fleetwire_app_messages_used{app="a"} 5`, `fleetwire_app_messages_used{app="free"} 0`,
		`fleetwire_group_bytes{app="a",group="g"} 4`, `fleetwire_group_dead{app="a",group="g"} 3`, `fleetwire_group_lag{app="a",group="g"} 1`,
		`fleetwire_group_max_bytes{app="a",group="g"} 5`, `fleetwire_group_oldest_age_seconds{app="a",group="g"} 1.5`, `fleetwire_group_pending{app="a",group="g"} 2`,
	}
	if got := shown(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	m.Surveyed(nil)
	if got := shown(); len(got) != 0 {
		t.Errorf("without a survey there are %q", got)
	}
}
