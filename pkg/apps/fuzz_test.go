package apps

import (
	"strings"
	"testing"

	"fleetwire/clients/go/channel"
)

// FuzzParse: no document makes Parse panic, and one that it accepts keeps every
// promise that the rest of the service builds on.
func FuzzParse(f *testing.F) {
	f.Add([]byte(document(`"suspended":false,"plan":{"maxConcurrentConnections":1,"maxMessagesPerPeriod":2},"limits":{"restBurst":3},`)))
	f.Add(NewLocalDocument())
	f.Add([]byte(`{"apps":[{"id":"a","keys":[{"id":"sk","secret":"s","channelPatterns":["*","\\*"],"actions":["send"]}]},{"id":"b","keys":[]}]}`))
	f.Add([]byte(`{"apps":[{"id":"a","id":"b","keys":null,"":[]}]} {}`))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		dir, err := Parse(doc)
		if (dir == nil) != (err != nil) {
			t.Fatalf("Parse = %v, %v", dir, err)
		}
		if err != nil {
			if strings.Count(err.Error(), "\n") > maxProblems+1 {
				t.Fatalf("the error has too many lines:\n%v", err)
			}
			return
		}
		if len(dir.Apps()) == 0 {
			t.Fatal("no app")
		}
		for _, app := range dir.Apps() {
			checkApp(t, dir, app)
		}
	})
}

func checkApp(t *testing.T, dir *Directory, app *App) {
	t.Helper()
	if found, ok := dir.App(app.ID); !ok || found != app || app.ID == "" || len(app.ID) > 64 || strings.ContainsAny(app.ID, "{}:*[]?\\ \n") {
		t.Fatalf("app id %q is not unique or not fit for a Redis key", app.ID)
	}
	if app.Plan.MaxConcurrentConnections < 0 || app.Plan.MaxMessagesPerPeriod < 0 {
		t.Fatalf("plan %+v", app.Plan)
	}
	l := app.Limits
	for _, n := range []int{l.ConnectionMessagesPerSec, l.ConnectionMessagesBurst, l.ConnectsPerAddressPerMin, l.RESTPerSec, l.RESTBurst} {
		if n < 1 || n > 1_000_000_000 {
			t.Fatalf("limits %+v", l)
		}
	}
	for _, key := range app.Keys {
		if found, ok := dir.Key(key.ID); !ok || found != key || key.App != app {
			t.Fatalf("key id %q is not unique", key.ID)
		}
		if key.Publishable() != (key.Secret == "") {
			t.Fatalf("key %q: a secret if and only if it is not publishable", key.ID)
		}
		if id, _, _ := strings.Cut(key.ID+"_secret_x", "_secret_"); !key.Publishable() && id != key.ID {
			t.Fatalf("key %q cannot be told apart from its secret", key.ID)
		}
		if strings.ContainsAny(key.ID, ": ") || key.ID == "" || len(key.ID) > 128 || len(key.Patterns) > 100 || key.Patterns == nil {
			t.Fatalf("key %q, %d patterns", key.ID, len(key.Patterns))
		}
		for _, p := range key.Patterns {
			if _, err := channel.Compile(p.String()); err != nil {
				t.Fatalf("key %q has the pattern %q: %v", key.ID, p, err)
			}
		}
	}
}
