package fleet

import (
	"path/filepath"
	"testing"
	"time"

	"fleetwire/chaos/internal/books"
)

// The two mutants of presence: who is shown and gone, and who is there and not shown.
func TestCompareFindsGhostsAndWhoIsMissing(t *testing.T) {
	for _, tt := range []struct {
		name         string
		there, shown []string
		kind         books.Kind
		text         string
	}{
		{"alike", []string{"a", "b"}, []string{"b", "a"}, "", ""},
		{"a ghost", []string{"a"}, []string{"a", "b"}, books.Ghost, "b in meet/1"},
		{"one is missing", []string{"a", "b"}, []string{"a"}, books.Missing, "b in meet/1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := compare("in meet/1", tt.there, tt.shown)
			switch {
			case tt.kind == "" && len(found) > 0:
				t.Errorf("found %v", found)
			case tt.kind != "" && (len(found) != 1 || found[0].Kind != tt.kind || found[0].Text != tt.text || found[0].Allowed):
				t.Errorf("found %v, want one %s: %s", found, tt.kind, tt.text)
			}
		})
	}
}

func TestAppsHasOneWithCapsForEachStep(t *testing.T) {
	d, err := Apps(filepath.Join(t.TempDir(), "apps.json"), 3, time.Second, "http://127.0.0.1:1/hook")
	if err != nil {
		t.Fatal(err)
	}
	all := d.Apps()
	if len(all) != 5 || all[0].ID != mainApp || len(all[0].History) == 0 {
		t.Fatalf("%d apps, the first %+v", len(all), all[0])
	}
	for i, a := range all[2:] {
		if a.ID != capApp(i) || a.Plan.MaxMessagesPerPeriod != capMessages || a.Plan.MaxConcurrentConnections != capConnections {
			t.Errorf("%+v", a)
		}
	}
}
