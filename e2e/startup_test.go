package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// Whatever is wrong at the start, both programs say so in one line that names
// the flag, and exit with 1. No password and no secret is in that line.
func TestRefusedStarts(t *testing.T) {
	server := redistest.Start(t)
	noRights, err := server.Client().Do(t.Context(), "acl", "setuser", "nobody", "on", ">hunter2", "~fw:*", "+@all", "resetchannels").Text()
	if err != nil || noRights != "OK" {
		t.Fatal(noRights, err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close() // nobody answers there now

	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const good = `{"apps":[{"id":"app_a","keys":[{"id":"sk_live_a","secret":"` + secretMark + `-0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}]}]}`
	const hunter2 = "hunter2" // the password that must not be told
	notJSON, typo := file("broken.json", strings.TrimSuffix(good, "}")), strings.Replace(good, `"actions"`, `"action":[],"actions"`, 1)
	noSecret := strings.Replace(good, `"secret":"`+secretMark+`-0123456789abcdef0123456789abcdef",`, "", 1)

	// Each is for both programs, with what the other flags need to be good.
	cases := []struct {
		name       string
		env, args  []string
		says       []string
		fanoutOnly bool
	}{
		{"port taken", nil, []string{"-listen", taken.Addr().String()}, []string{"-listen", taken.Addr().String(), "in use"}, false},
		{"port taken, by environment", []string{"FLEETWIRE_LISTEN=" + taken.Addr().String()}, nil, []string{"-listen", "in use"}, false},
		{"operations port taken", nil, []string{"-ops", taken.Addr().String()}, []string{"-ops", taken.Addr().String(), "in use"}, false},
		{"no address", nil, []string{"-listen", "nonsense"}, []string{"-listen", "nonsense"}, false},
		{"a port there is not", nil, []string{"-listen", "127.0.0.1:99999"}, []string{"-listen", "99999"}, false},

		{"no such apps document", nil, []string{"-apps", filepath.Join(dir, "missing.json")}, []string{"-apps", "missing.json", "no such file"}, false},
		{"apps document is a directory", nil, []string{"-apps", dir}, []string{"-apps", dir, "directory"}, false},
		{"apps document is broken", nil, []string{"-apps", notJSON}, []string{"-apps", "broken.json", "ends too early"}, false},
		{"apps document is empty", nil, []string{"-apps", file("empty.json", "")}, []string{"-apps", "empty.json"}, false},
		{"apps document has a misspelt field", nil, []string{"-apps", typo}, []string{"-apps", "apps[0].keys[0].action", "actions"}, false},
		{"apps document lacks a secret", []string{"FLEETWIRE_APPS=" + noSecret}, nil, []string{"-apps", "apps[0].keys[0].secret"}, false},

		{"Redis does not answer", nil, []string{"-redis", "redis://user:" + hunter2 + "@" + closed.Addr().String()}, []string{"-redis", closed.Addr().String(), "refused"}, false},
		{"Redis gives no rights to channels", nil, []string{"-redis", "redis://nobody:" + hunter2 + "@" + server.Addr()}, []string{"-redis: NOPERM"}, false},
		{"Redis knows no such user", nil, []string{"-redis", "redis://somebody:" + hunter2 + "@" + server.Addr()}, []string{"-redis: WRONGPASS"}, false},
		{"Redis, by environment", []string{"FLEETWIRE_REDIS_URL=redis://" + closed.Addr().String()}, nil, []string{"-redis", "refused"}, false},
		{"Redis URL of another kind", nil, []string{"-redis", "http://user:" + hunter2 + "@127.0.0.1"}, []string{"-redis", "redis://"}, false},
		{"Redis URL without a scheme", nil, []string{"-redis", "127.0.0.1:6379"}, []string{"-redis", "redis://"}, false},
		{"Redis URL that cannot be read", nil, []string{"-redis", "redis://user:" + hunter2 + "@127.0.0.1:port/0"}, []string{"-redis"}, false},
		{"Redis URL with a space", nil, []string{"-redis", "redis://user:" + hunter2 + " @127.0.0.1:6379"}, []string{"-redis"}, false},
		{"Redis database that is no number", nil, []string{"-redis", "redis://user:" + hunter2 + "@127.0.0.1:6379/first"}, []string{"-redis"}, false},
		{"Redis password with a slash", nil, []string{"-redis", "redis://user:" + hunter2 + "/" + hunter2 + "@127.0.0.1:6379"}, []string{"-redis"}, false},
		{"Redis password with a slash and digits", nil, []string{"-redis", "redis://user:123/" + hunter2 + "@127.0.0.1:6379"}, []string{"-redis"}, false},
		{"Redis password with a hash", nil, []string{"-redis", "redis://user:" + hunter2 + "#x@127.0.0.1:6379"}, []string{"-redis"}, false},
		{"Redis password with a question mark", nil, []string{"-redis", "redis://user:" + hunter2 + "?" + hunter2 + "@127.0.0.1:6379"}, []string{"-redis"}, false},
		{"Redis password with a percent sign", nil, []string{"-redis", "redis://user:" + hunter2 + "%zz" + hunter2 + "@127.0.0.1:6379"}, []string{"-redis"}, false},

		{"unknown flag", nil, []string{"-lisen", "127.0.0.1:0"}, []string{"-lisen"}, false},
		{"flag without its value", nil, []string{"-listen"}, []string{"-listen"}, false},
		{"argument that is no flag", nil, []string{"start"}, []string{`"start"`}, false},
		{"no duration", nil, []string{"-drain", "soon"}, []string{"-drain", "soon"}, false},
		{"negative duration", nil, []string{"-drain", "-1s"}, []string{"-drain", "-1s"}, false},
		{"no duration, by environment", []string{"FLEETWIRE_DRAIN=soon"}, nil, []string{"FLEETWIRE_DRAIN", "soon"}, false},
		{"no network", nil, []string{"-trusted-proxies", "10.0.0.0/8,proxy"}, []string{"-trusted-proxies", `"proxy"`}, false},
		{"no log format", nil, []string{"-log-format", "xml"}, []string{"-log-format", "xml", "json"}, false},
		{"no log level", nil, []string{"-log-level", "loud"}, []string{"-log-level", "loud", "debug"}, false},

		{"fanout without apps", nil, []string{"-apps", ""}, []string{"-apps"}, true},
		{"fanout without Redis", nil, []string{"-redis", ""}, []string{"-redis"}, true},
	}
	for _, program := range []string{"localdev", "fanout"} {
		for _, c := range cases {
			if c.fanoutOnly && program != "fanout" {
				continue
			}
			t.Run(program+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				env := []string{"FLEETWIRE_LISTEN=127.0.0.1:0", "FLEETWIRE_OPS=127.0.0.1:0", "FLEETWIRE_APPS=" + good}
				if program == "fanout" {
					env = append(env, "FLEETWIRE_REDIS_URL="+server.URL())
				}
				p := run(t, t.TempDir(), append(env, c.env...), program, c.args...)
				if code := p.wait(); code != 1 {
					t.Errorf("exit code %d, want 1", code)
				}
				line := p.stderr.text()
				if strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, program+": ") {
					t.Errorf("not one line that begins with %q", program+": ")
				}
				for _, text := range c.says {
					if !strings.Contains(line, text) {
						t.Errorf("it does not say %q: %s", text, line)
					}
				}
				for _, text := range []string{hunter2, secretMark} {
					if strings.Contains(line, text) {
						t.Errorf("it tells a secret, %q: %s", text, line)
					}
				}
				if p.stdout.text() != "" {
					t.Errorf("something on standard output: %s", p.stdout.text())
				}
			})
		}
	}
}

// An apps document with many mistakes: each gets its line, and the first names
// the flag.
func TestManyMistakes(t *testing.T) {
	p := run(t, t.TempDir(), nil, "localdev", "-listen", "127.0.0.1:0", "-ops", "off",
		"-apps", `{"apps":[{"id":"a b","suspended":1,"plan":{"maxMessagesPerPeriod":-1},"keys":[{"id":"k"}]}]}`)
	if code := p.wait(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	lines := strings.Split(strings.TrimSuffix(p.stderr.text(), "\n"), "\n")
	if !strings.HasPrefix(lines[0], "localdev: -apps: ") || len(lines) > 12 {
		t.Errorf("%d lines, the first is %q", len(lines), lines[0])
	}
	for _, path := range []string{"apps[0].id: ", "apps[0].suspended: ", "apps[0].plan.maxConcurrentConnections: ", "apps[0].keys[0].secret: "} {
		if !strings.Contains(p.stderr.text(), path) {
			t.Errorf("nothing about %s", path)
		}
	}
}

// A Redis that accepts and says nothing does not keep a start waiting.
func TestStartWithAHungRedis(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := run(t, t.TempDir(), nil, "localdev", "-listen", "127.0.0.1:0", "-ops", "off", "-redis", "redis://"+l.Addr().String())
	begin := time.Now()
	if code := p.wait(); code != 1 || !strings.HasPrefix(p.stderr.text(), "localdev: -redis: ") {
		t.Errorf("exit code %d and %s", code, p.stderr.text())
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

// -h is no mistake: it tells all flags, and exits with 0.
func TestHelp(t *testing.T) {
	for _, name := range []string{"localdev", "fanout"} {
		p := run(t, t.TempDir(), nil, name, "-h")
		if code := p.wait(); code != 0 {
			t.Errorf("%s -h: exit code %d", name, code)
		}
		for _, flag := range []string{"-listen", "-ops", "-apps", "-redis", "-drain", "-trusted-proxies", "-log-format", "FLEETWIRE_REDIS_URL"} {
			if !strings.Contains(p.stderr.text(), flag) {
				t.Errorf("%s -h does not tell of %s", name, flag)
			}
		}
	}
}
