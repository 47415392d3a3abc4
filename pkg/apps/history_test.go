package apps

import (
	"testing"
	"time"
)

func parsed(t *testing.T, members string) *App {
	t.Helper()
	dir, err := Parse([]byte(document(members)))
	if err != nil {
		t.Fatal(err)
	}
	return dir.Apps()[0]
}

func TestHistoryOf(t *testing.T) {
	app := parsed(t, `"history":[{"pattern":"devices/*/state","size":1,"ttlSec":604800},{"pattern":"devices/**","size":1000,"ttlSec":2592000}],`)
	if app.HistoryBytes != 256<<20 {
		t.Errorf("historyBytes is %d", app.HistoryBytes)
	}
	for name, want := range map[string]struct {
		size int
		ttl  time.Duration
	}{
		"devices/7/state": {1, 7 * 24 * time.Hour}, // the first that matches
		"devices/7/log":   {1000, 30 * 24 * time.Hour},
		"fleets/7":        {},
		"_system/devices": {},
	} {
		r := app.HistoryOf(name)
		if want.size == 0 {
			if r != nil {
				t.Errorf("%s remembers %d messages, want none", name, r.Size)
			}
		} else if r == nil || r.Size != want.size || r.TTL != want.ttl {
			t.Errorf("%s: %+v, want %+v", name, r, want)
		}
	}
	if r := parsed(t, "").HistoryOf("devices/7/state"); r != nil {
		t.Errorf("an app without rules remembers %+v", r)
	}
	if got := parsed(t, `"historyBytes":1048576,`).HistoryBytes; got != 1<<20 {
		t.Errorf("historyBytes is %d", got)
	}
}

// A connection gets to know another history of its app.
func TestHistoryIsCompared(t *testing.T) {
	const rule = `"history":[{"pattern":"a","size":1,"ttlSec":1}],`
	one := parsed(t, rule).Keys[0]
	if !one.Equal(parsed(t, rule).Keys[0]) {
		t.Error("the same history counts as another one")
	}
	for _, other := range []string{
		``, rule + `"historyBytes":1048576,`, `"history":[{"pattern":"b","size":1,"ttlSec":1}],`,
		`"history":[{"pattern":"a","size":2,"ttlSec":1}],`, `"history":[{"pattern":"a","size":1,"ttlSec":2}],`,
	} {
		if one.Equal(parsed(t, other).Keys[0]) {
			t.Errorf("%s counts as %s", other, rule)
		}
	}
}
