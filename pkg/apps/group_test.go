package apps

import (
	"slices"
	"testing"
	"time"
)

func TestGroupsOf(t *testing.T) {
	app := parsed(t, `"groups":[{"name":"ingest","patterns":["devices/*/events","fleets/**"]},`+
		`{"name":"Audit_2-","patterns":["**"],"ackTimeoutSec":43200,"maxDeliver":1,"maxBytes":1048576,"maxAgeSec":60,"overflow":"drop_oldest"},`+
		`{"name":"other","patterns":["other"],"overflow":"refuse"}],`)
	ingest, audit := app.Group("ingest"), app.Group("Audit_2-")
	if g := *ingest; g.AckTimeout != 30*time.Second || g.MaxDeliver != 10 || g.MaxBytes != 256<<20 || g.MaxAge != 24*time.Hour || g.DropOldest {
		t.Errorf("what a group has by default: %+v", g)
	}
	if g := *audit; g.AckTimeout != 12*time.Hour || g.MaxDeliver != 1 || g.MaxBytes != 1<<20 || g.MaxAge != time.Minute || !g.DropOldest {
		t.Errorf("what a group was given: %+v", g)
	}
	for name, want := range map[string][]*Group{
		"devices/7/events":   {ingest, audit}, // all that match, in order
		"devices/7/events/x": {audit},
		"fleets/a/b":         {ingest, audit},
		"other":              {audit, app.Group("other")},
	} {
		if got := app.GroupsOf(name); !slices.Equal(got, want) {
			t.Errorf("%s waits for %d groups, want %d", name, len(got), len(want))
		}
	}
	if app.Group("Ingest") != nil || app.Group("") != nil {
		t.Error("there is a group that has another name")
	}
}

// An app without groups costs its publishes nothing.
func TestGroupsOfNone(t *testing.T) {
	app := parsed(t, "")
	if n := testing.AllocsPerRun(100, func() {
		if app.GroupsOf("devices/7/events") != nil {
			t.Error("an app without groups has some")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A connection gets to know other groups of its app.
func TestGroupsAreCompared(t *testing.T) {
	const of = `"groups":[{"name":"a","patterns":["a"]`
	one := parsed(t, of+"}],").Keys[0]
	if !one.Equal(parsed(t, of+"}],").Keys[0]) {
		t.Error("the same groups count as others")
	}
	for _, other := range []string{
		``, of + `},{"name":"b","patterns":["b"]}],`, `"groups":[{"name":"b","patterns":["a"]}],`, `"groups":[{"name":"a","patterns":["b"]}],`,
		of + `,"ackTimeoutSec":1}],`, of + `,"maxDeliver":1}],`, of + `,"maxBytes":1048576}],`, of + `,"maxAgeSec":60}],`, of + `,"overflow":"drop_oldest"}],`,
	} {
		if one.Equal(parsed(t, other).Keys[0]) {
			t.Errorf("%s counts as %s", other, of)
		}
	}
}
