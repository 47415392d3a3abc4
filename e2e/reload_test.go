package e2e

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// changingApps is an apps document in a file that running programs read.
type changingApps struct {
	t    testing.TB
	path string
}

// replace puts a whole new file in the old one's place, as editors do.
func (l changingApps) replace(text []byte) {
	l.t.Helper()
	next := l.path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Rename(next, l.path); err != nil {
		l.t.Fatal(err)
	}
}

// overwrite writes into the file itself.
func (l changingApps) overwrite(text []byte) {
	l.t.Helper()
	if err := os.WriteFile(l.path, text, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// The story of a key, from its being added to its being revoked, and of an app
// that is suspended for a while, by nothing but edits of the document (protocol
// §7). The nodes are processes, and all that is waited for is their own looking.
func TestAppsDocumentWhileRunning(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		testChangingDocument(t, func(apps string) ([]*program, []*node) {
			p, n := localdev(t, t.TempDir(), nil, "-apps", apps)
			return []*program{p}, []*node{n}
		})
	})
	t.Run("two nodes", func(t *testing.T) {
		t.Parallel()
		redis := redistest.Start(t)
		testChangingDocument(t, func(apps string) ([]*program, []*node) {
			control, n := localdev(t, t.TempDir(), nil, "-apps", apps, "-redis", redis.URL())
			p, m := fanout(t, nil, "-apps", apps, "-redis", redis.URL())
			return []*program{control, p}, []*node{n, m}
		})
	})
}

func testChangingDocument(t *testing.T, start func(apps string) ([]*program, []*node)) {
	former, next := newKey("former", "devices/**", "fleets/**"), newKey("next", "devices/**")
	other := newKey("other", "**")
	public := &keyDoc{ID: "pk_live_living", Patterns: []string{"public/**"}, Actions: []string{"subscribe"}}
	app, bystanders := newApp("app_living", former, public), newApp("app_other", other)
	doc := func(keys ...*keyDoc) []byte {
		app.Keys = keys
		return document(t, app, bystanders)
	}
	file := changingApps{t, filepath.Join(t.TempDir(), "apps.json")}
	file.overwrite(doc(former, public))
	programs, nodes := start(file.path)
	control := nodes[0]
	mint := func(key *keyDoc) answer {
		t.Helper()
		a, err := control.call("POST", "/v1/tokens", key.credential(), `{"peerId":"p"}`)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	// connect opens one connection on each node.
	connect := func(key *keyDoc, name string, channels ...string) (all []*socket) {
		t.Helper()
		for _, n := range nodes {
			all = append(all, n.connect(t, key.token(name, nil)).subscribe(channels...))
		}
		return all
	}
	alive := func(sockets ...*socket) {
		t.Helper()
		for _, s := range sockets {
			s.alive()
		}
	}
	refused := func(query string, code int, says ...string) {
		t.Helper()
		for _, n := range nodes {
			n.refused(t, query, code, says...)
		}
	}
	// interval is how soon a change of the file is in force; one that breaks it is
	// told at the second look.
	const interval, slack = 5 * time.Second, 5 * time.Second

	old := connect(former, "old", "devices/a", "fleets/f")
	away := connect(other, "bystander", "**")
	visitor := nodes[len(nodes)-1].enter(t, "key="+public.ID).subscribe("public/news")

	// A key is added, and mints; the one before it keeps its connections.
	if a := mint(next); a.status != 401 {
		t.Fatalf("a key that is not there yet: %d %s", a.status, a.body)
	}
	file.replace(doc(former, next, public))
	eventually(t, "the new key mints", interval+slack, func() bool { return mint(next).status == 200 })
	var live []*socket
	for _, n := range nodes { // each looks for itself
		var d *socket
		eventually(t, "the new key opens a connection", interval+slack, func() bool {
			var err error
			d, err = n.tryEnter(t, "token="+control.mint(t, next, `{"peerId":"fresh"}`))
			var closed closedError
			if err != nil && !(errors.As(err, &closed) && closed.code == 4001) {
				t.Fatal(err)
			}
			return err == nil
		})
		live = append(live, d.subscribe("devices/a"))
	}
	alive(old...)

	// Narrowed: what is outside is dropped, with an error that answers nothing.
	narrow := *former
	narrow.Patterns = []string{"devices/**"}
	file.replace(doc(&narrow, next, public))
	for _, d := range old {
		d.expectError("", "channel_not_authorized", "fleets/f")
	}
	alive(old...)
	alive(live...)

	// Revoked: its connections close, it opens none, and REST does not know it.
	file.overwrite(doc(next, public))
	for _, d := range old { // a new token would be good
		d.expectClose(4002, former.ID)
	}
	eventually(t, "REST refuses the revoked key", interval+slack, func() bool { return mint(former).status == 401 })
	refused("token="+former.token("old", nil), 4001, "revoked")
	alive(live...)
	alive(visitor)
	if n := control.publish(t, next, "devices/a", `"still here"`); n != len(live) {
		t.Errorf("subscribers: %d, want %d", n, len(live))
	}
	for _, d := range live {
		d.expectMessage("devices/a", "server", `"still here"`)
	}

	// Broken: nothing changes but what the operator is told.
	file.overwrite(doc(next)[:100])
	for i, n := range nodes {
		eventually(t, "/readyz says that the document is broken", 2*interval+slack, func() bool {
			status, body := n.ready()
			return status == http.StatusOK && strings.HasPrefix(body, "ready\nsince ") && strings.Contains(body, "apps.json: apps document: the document: ends too early")
		})
		programs[i].line(&programs[i].stderr, "the newest version of the apps document cannot be used")
	}
	alive(live...)
	alive(visitor)
	if a := mint(next); a.status != 200 {
		t.Errorf("with a broken document: %d %s", a.status, a.body)
	}

	// Mended, and suspended by the same edit.
	app.Suspended = true
	file.replace(doc(next, public))
	for _, d := range append(live, visitor) {
		d.expectClose(4012)
	}
	for i, n := range nodes {
		programs[i].line(&programs[i].stderr, "the apps document is in order again")
		if status, body := n.ready(); status != http.StatusOK || body != "ready\n" {
			t.Errorf("mended, but /readyz: %d %q", status, body)
		}
	}
	mint(next).wantError(t, 403, "account_suspended")
	refused("token="+next.token("fresh", nil), 4012)
	refused("key="+public.ID, 4012)

	// And taken back.
	app.Suspended = false
	file.replace(doc(next, public))
	eventually(t, "the app is back", interval+slack, func() bool { return mint(next).status == 200 })
	for _, n := range nodes {
		eventually(t, "the app's connections are let in", interval+slack, func() bool {
			_, err := n.tryEnter(t, "token="+next.token("fresh", nil))
			return err == nil
		})
	}

	// The other app has noticed nothing of it all.
	alive(away...)
	for _, p := range programs {
		log := p.stderr.text()
		if n := strings.Count(log, "cannot be used"); n != 1 {
			t.Errorf("the broken document is in the log %d times", n)
		}
		if strings.Contains(log, secretMark) || strings.Contains(log, "eyJ") {
			t.Errorf("a log line has a secret or a token in it:\n%s", log)
		}
	}
}
