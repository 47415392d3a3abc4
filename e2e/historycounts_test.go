package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// counted is what all nodes say of a counter, with its labels.
func (s *system) counted(counter string) (total int) {
	s.t.Helper()
	for _, n := range s.nodes {
		for line := range strings.Lines(n.metrics(s.t)) {
			if value, ok := strings.CutPrefix(line, counter+" "); ok {
				count := 0
				_, _ = fmt.Sscan(value, &count)
				total += count
			}
		}
	}
	return total
}

// Messages that channels remember are counted, and those that they forget by reason. An app
// with history is told of its use what one without is told.
func TestHistoryIsCounted(t *testing.T) {
	key, plain := newKey("counted", "**"), newKey("counted_plain", "**")
	app, other := newApp("app_counted", key), newApp("app_counted_plain", plain)
	app.History = []ruleDoc{{"log/**", 2, 3600}, {"short/**", 1, 1}}
	onEachRedis(t, []*appDoc{app, other}, func(t *testing.T, s *system) {
		defer s.apps.Replace(s.apps.Current())
		for _, k := range []*keyDoc{key, plain} {
			for range 4 {
				s.first().publish(t, k, "log/a", `"12345678"`)
			}
			s.last().publish(t, k, "short/a", `"1"`)
			s.last().publish(t, k, "elsewhere", `"1"`)
		}
		if n, bytes := s.counted("fleetwire_history_messages_total"), s.counted("fleetwire_history_bytes_total"); n != 5 || bytes != 43 {
			t.Errorf("%d messages with %d bytes are counted, want 5 with 43", n, bytes)
		}
		for _, forgotten := range []struct {
			reason string
			want   int
		}{{"size", 2}, {"ttl", 1}, {"rules", 2}} {
			if forgotten.reason == "rules" {
				without := *app
				without.History = nil
				s.apps.Replace(directory(t, &without, other))
			}
			counter := fmt.Sprintf("fleetwire_history_evictions_total{reason=%q}", forgotten.reason)
			eventually(t, counter, patience, func() bool { return s.counted(counter) == forgotten.want })
		}
		if n := s.counted(`fleetwire_history_evictions_total{reason="bytes"}`); n != 0 {
			t.Errorf("%d messages were forgotten because of historyBytes", n)
		}

		var reports []string
		for _, k := range []*keyDoc{key, plain} {
			a, err := s.last().call("GET", "/v1/usage", k.credential(), "")
			if err != nil || a.status != 200 {
				t.Fatal(a, err)
			}
			reports = append(reports, strings.Replace(a.body, "app_counted_plain", "app_counted", 1))
		}
		if reports[0] != reports[1] {
			t.Errorf("with history  %s\nand without   %s", reports[0], reports[1])
		}
	})
}
