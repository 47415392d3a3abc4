package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// The first start makes a key pair, readable by its owner alone, and every
// later one uses it, so that a shell that remembers it goes on working.
func TestLocaldevKeepsItsKey(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, ".fleetwire", "apps.json")
	shape := regexp.MustCompile(`^secret key +(sk_live_[0-9a-f]{24})_secret_([0-9a-f]{48})$`)
	var token, before string
	for start := range 2 {
		p, n := localdev(t, dir, nil)
		m := shape.FindStringSubmatch(p.line(&p.stdout, "secret key "))
		if m == nil {
			t.Fatalf("no secret key in what it prints:\n%s", p.stdout.text())
		}
		key := &keyDoc{ID: m[1], Secret: m[2]}
		if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", kept, info.Mode(), err)
		}
		if info, err := os.Stat(filepath.Dir(kept)); err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v; want mode 0700", filepath.Dir(kept), info.Mode(), err)
		}
		if start == 0 {
			before = p.stdout.text()
			if line := "console      http://" + n.addr + "/console/ (sign in with a secret key)\n"; !strings.Contains(before, line) {
				t.Errorf("it does not print %q:\n%s", line, before)
			}
			sessionOf(t, n.signIn(t, key.credential()))
			token = n.mint(t, key, `{"peerId":"camera-001","channels":["devices/camera-001/*"],"permissions":["publish","subscribe"]}`)
		}
		camera := n.connect(t, token).subscribe("devices/camera-001/commands") // of the first start
		if got := n.publish(t, key, "devices/camera-001/commands", `{"cmd":"reboot"}`); got != 1 {
			t.Errorf("subscribers: %d, want 1", got)
		}
		camera.expectMessage("devices/camera-001/commands", "server", `{"cmd":"reboot"}`)
		camera.leave()
		p.terminate()
		if secretLine := "secret key   " + m[1] + "_secret_" + m[2] + "\n"; !strings.Contains(before, secretLine) {
			t.Errorf("start %d has another key than the first", start)
		}
		if log := p.stderr.text(); strings.Contains(log, m[2]) || strings.Contains(log, "eyJ") {
			t.Errorf("the log has a secret or a token in it:\n%s", log)
		}
	}
}

// With JSON logs, standard output is likely to be collected: no secret is on it.
func TestLocaldevTellsNoSecretWithJSONLogs(t *testing.T) {
	dir := t.TempDir()
	p, _ := localdev(t, dir, nil, "-log-format", "json")
	p.line(&p.stdout, "secret key   of key sk_live_")
	p.terminate()
	doc, err := os.ReadFile(filepath.Join(dir, ".fleetwire", "apps.json"))
	if err != nil {
		t.Fatal(err)
	}
	secret := regexp.MustCompile(`"secret": "([0-9a-f]{48})"`).FindSubmatch(doc)
	if secret == nil {
		t.Fatalf("no secret in %s", doc)
	}
	if said := p.stdout.text() + p.stderr.text(); strings.Contains(said, string(secret[1])) {
		t.Errorf("it tells the secret:\n%s", said)
	}
}

// A file that somebody has spoilt is told, not overwritten: it may be the only
// place where the key is.
func TestLocaldevDoesNotOverwriteItsKey(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, ".fleetwire", "apps.json")
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := run(t, dir, nil, "localdev", "-listen", "127.0.0.1:0", "-ops", "off")
	if code := p.wait(); code != 1 || !strings.Contains(p.stderr.text(), ".fleetwire/apps.json") || !strings.HasPrefix(p.stderr.text(), "localdev: -apps: ") {
		t.Errorf("exit code %d and %s", code, p.stderr.text())
	}
	if text, err := os.ReadFile(kept); err != nil || string(text) != "spoilt" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

// Where there is no place for the key pair, the line says which flag helps.
func TestLocaldevWithoutAPlaceForItsKey(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".fleetwire"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := run(t, dir, nil, "localdev", "-listen", "127.0.0.1:0", "-ops", "off")
	if code := p.wait(); code != 1 || !strings.Contains(p.stderr.text(), "-apps") || strings.Count(p.stderr.text(), "\n") != 1 {
		t.Errorf("exit code %d and %s", code, p.stderr.text())
	}
}

// On SIGTERM each program tells its peers, closes them with 1001 and exits 0,
// while requests that are under way are answered.
func TestTerminate(t *testing.T) {
	key := newKey("terminate", "**")
	redis := redistest.Start(t)
	doc := documentFile(t, newApp("app_terminate", key))
	for _, c := range []struct {
		name  string
		start func() (*program, *node)
	}{
		{"localdev", func() (*program, *node) { return localdev(t, t.TempDir(), nil, "-apps", doc) }},
		{"fanout", func() (*program, *node) { return fanout(t, nil, "-apps", doc, "-redis", redis.URL()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, n := c.start()
			fleet := []*socket{n.connect(t, key.token("a", nil)), n.connect(t, key.token("b", nil)), n.connect(t, key.token("c", nil))}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for _, d := range fleet {
					if frame, err := d.read(); err != nil || !goingAway.MatchString(frame) {
						t.Errorf("got %s, %v, want going_away", frame, err)
					}
					_, err := d.read()
					if closed, ok := err.(closedError); !ok || closed.code != 1001 {
						t.Errorf("not closed with 1001: %v", err)
					}
				}
			}()
			p.terminate()
			<-done
			if n := strings.Count(p.stderr.text(), "connection ended"); n != len(fleet) {
				t.Errorf("%d lines for %d ended connections:\n%s", n, len(fleet), p.stderr.text())
			}
		})
	}
}

// A production node and a localdev on one real Redis are two nodes of one
// system: a command by REST on one reaches a device on the other, and its event
// comes back. The node alone has no REST.
func TestFanoutAndLocaldevTogether(t *testing.T) {
	key := newKey("together", "devices/**", "fleets/**")
	redis := redistest.Start(t)
	doc := documentFile(t, newApp("app_together", key))
	_, control := localdev(t, t.TempDir(), []string{"FLEETWIRE_REDIS_URL=" + redis.URL(), "FLEETWIRE_APPS=" + doc})
	program, node := fanout(t, []string{"FLEETWIRE_APPS=/nowhere"}, "-redis", redis.URL(), "-apps", doc) // the flag wins

	token := control.mint(t, key, `{"peerId":"camera-001","channels":["devices/camera-001/*","fleets/f1/commands"],"permissions":["publish","subscribe"]}`)
	camera := node.connect(t, token).subscribe("devices/camera-001/commands", "fleets/f1/commands")
	ingester := control.connect(t, key.token("ingester", nil)).subscribe("devices/*/events")
	if n := control.publish(t, key, "devices/camera-001/commands", `{"cmd":"reboot"}`); n != 1 {
		t.Errorf("subscribers: %d, want 1", n)
	}
	control.publish(t, key, "fleets/f1/commands", `{"cmd":"set-frame-rate","fps":12}`)
	camera.expectMessage("devices/camera-001/commands", "server", `{"cmd":"reboot"}`)
	camera.expectMessage("fleets/f1/commands", "server", `{"cmd":"set-frame-rate","fps":12}`)
	camera.publish("devices/camera-001/events", `{"motion":true}`)
	ingester.expectMessage("devices/camera-001/events", "camera-001", `{"motion":true}`)

	a, err := node.call("POST", "/v1/tokens", key.credential(), `{"peerId":"p"}`)
	if err != nil {
		t.Fatal(err)
	}
	a.wantError(t, 404, "not_found", "fan-out node")

	camera.leave()
	ingester.leave()
	program.terminate()
	control.stop()
	for line := range strings.Lines(program.stderr.text()) {
		if strings.Contains(line, secretMark) || strings.Contains(line, "eyJ") {
			t.Errorf("a log line has a secret or a token in it: %s", line)
		}
	}
}
