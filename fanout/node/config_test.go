package node

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn"
)

var defaults = Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081"}

func TestParseConfig(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want Config
	}{
		{"nothing", nil, nil, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", Drain: 10 * time.Second, RedisPrefix: "fw"}},
		{"all flags", nil, []string{"-listen", ":1", "-ops", ":2", "-apps", "a.json", "-redis", "redis://r", "-redis-prefix", "site-a", "-drain", "3s", "-trusted-proxies", "10.0.0.0/8, 2001:db8::/32", "-sink-networks", "10.9.0.0/16", "-control-plane", "-console",
			"-redis-ca", "ca.pem", "-redis-cert", "c.pem", "-redis-key", "c.key", "-redis-insecure"},
			Config{":1", ":2", "a.json", "redis://r", "site-a", redisconn.TLS{CA: "ca.pem", Cert: "c.pem", Key: "c.key", Insecure: true}, 3 * time.Second, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}, []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, true, true, "text", nil}},
		{"all variables", map[string]string{"FLEETWIRE_LISTEN": ":1", "FLEETWIRE_OPS": ":2", "FLEETWIRE_APPS": "a.json", "FLEETWIRE_REDIS_URL": "redis://r", "FLEETWIRE_REDIS_PREFIX": "site_b",
			"FLEETWIRE_DRAIN": "1m", "FLEETWIRE_TRUSTED_PROXIES": "10.0.0.0/8", "FLEETWIRE_SINK_NETWORKS": "10.9.0.0/16 fd00::/8", "FLEETWIRE_LOG_FORMAT": "json", "FLEETWIRE_LOG_LEVEL": "debug", "FLEETWIRE_CONTROL_PLANE": "true", "FLEETWIRE_CONSOLE": "true",
			"FLEETWIRE_REDIS_CA": "ca.pem", "FLEETWIRE_REDIS_CERT": "c.pem", "FLEETWIRE_REDIS_KEY": "c.key", "FLEETWIRE_REDIS_INSECURE": "true"}, nil,
			Config{":1", ":2", "a.json", "redis://r", "site_b", redisconn.TLS{CA: "ca.pem", Cert: "c.pem", Key: "c.key", Insecure: true}, time.Minute, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("fd00::/8")}, true, true, "json", nil}},
		{"the flag wins", map[string]string{"FLEETWIRE_LISTEN": ":1", "FLEETWIRE_REDIS_URL": "redis://env"}, []string{"-listen=:9", "--redis", "redis://flag"},
			Config{Listen: ":9", Ops: "127.0.0.1:8081", Redis: "redis://flag", Drain: 10 * time.Second, RedisPrefix: "fw"}},
		{"no operations address", nil, []string{"-ops", "off"}, Config{Listen: "127.0.0.1:8080", Drain: 10 * time.Second, RedisPrefix: "fw"}},
		{"no drain", nil, []string{"-drain", "0"}, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", RedisPrefix: "fw"}},
		{"a document inline", nil, []string{"-apps", `{"apps":[]}`}, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", Apps: `{"apps":[]}`, Drain: 10 * time.Second, RedisPrefix: "fw"}},
		{"empty variables", map[string]string{"FLEETWIRE_LISTEN": "", "FLEETWIRE_OPS": "", "FLEETWIRE_APPS": "", "FLEETWIRE_REDIS_URL": "", "FLEETWIRE_REDIS_PREFIX": "", "FLEETWIRE_DRAIN": "",
			"FLEETWIRE_TRUSTED_PROXIES": "", "FLEETWIRE_LOG_FORMAT": "", "FLEETWIRE_LOG_LEVEL": " ", "FLEETWIRE_REDIS_CA": "", "FLEETWIRE_REDIS_INSECURE": ""}, nil, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", Drain: 10 * time.Second, RedisPrefix: "fw"}},
		{"a newline behind a variable", map[string]string{"FLEETWIRE_REDIS_URL": "redis://r\n"}, nil, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", Redis: "redis://r", Drain: 10 * time.Second, RedisPrefix: "fw"}},
		{"every interface, if it is said", nil, []string{"-listen", ":8080", "-ops", "[::]:0"}, Config{Listen: ":8080", Ops: "[::]:0", Drain: 10 * time.Second, RedisPrefix: "fw"}},
		{"FLEETWIRE_REDIS is not a name", map[string]string{"FLEETWIRE_REDIS": "redis://r"}, nil, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", Drain: 10 * time.Second, RedisPrefix: "fw"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			got, err := ParseConfig(tt.args, io.Discard, defaults, "")
			if err != nil {
				t.Fatal(err)
			}
			if got.Log == nil {
				t.Error("there is no log")
			}
			got.Log = nil
			if tt.want.LogFormat == "" {
				tt.want.LogFormat = "text"
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// One line that names the flag, and nothing printed besides.
func TestParseConfigErrors(t *testing.T) {
	for _, tt := range []struct {
		name, env, value string
		args             []string
		want             string
	}{
		{"unknown flag", "", "", []string{"-lisen", ":1"}, "unknown flag -lisen; -h lists all flags"},
		{"argument", "", "", []string{"serve"}, `unexpected argument "serve": everything is given by flags, as in -listen 127.0.0.1:8080; see -h`},
		{"flag without value", "", "", []string{"-listen"}, "-listen: has no value; give an address such as 127.0.0.1:8080, or :8080 for every interface"},
		{"three hyphens", "", "", []string{"---listen"}, `"---listen" is not a flag, which looks like -listen 127.0.0.1:8080; see -h`},
		{"empty", "", "", []string{"-listen", ""}, "-listen: is empty; give an address such as 127.0.0.1:8080, or :8080 for every interface, or leave the flag out"},
		{"empty beside a variable", "FLEETWIRE_LISTEN", ":1", []string{"-listen="}, "-listen: is empty; "},
		{"blank", "", "", []string{"-ops", " "}, `-ops: is empty; give an address such as 127.0.0.1:8081, or "off" for none, or leave the flag out`},
		{"no apps document", "", "", []string{"-apps", ""}, "-apps: is empty; give a file such as apps.json, or leave the flag out"},
		{"no Redis", "", "", []string{"-redis", ""}, "-redis: is empty; give a URL such as redis://127.0.0.1:6379/0, or leave the flag out"},
		{"no level", "", "", []string{"-log-level", ""}, "-log-level: is empty; give debug, info, warn or error, or leave the flag out"},
		{"no port", "", "", []string{"-listen", "127.0.0.1"}, `-listen: "127.0.0.1" has no port; write it as HOST:PORT, such as 127.0.0.1:8080, or :8080 for every interface`},
		{"a colon alone", "", "", []string{"-listen", ":"}, `-listen: ":" has no port; write it as HOST:PORT`},
		{"a port alone", "FLEETWIRE_LISTEN", "8080", nil, `-listen (FLEETWIRE_LISTEN): "8080" has no port; write it as HOST:PORT`},
		{"no such port", "", "", []string{"-ops", "127.0.0.1:99999"}, `-ops: "127.0.0.1:99999" has the port "99999", which is not a number from 0 to 65535; write it as`},
		{"a port by name", "", "", []string{"-listen", ":http"}, `-listen: ":http" has the port "http", which is not a number`},
		{"IPv6 without brackets", "", "", []string{"-listen", "2001:db8::1:8080"}, `-listen: "2001:db8::1:8080" is not an address; write it as`},
		{"drain", "", "", []string{"-drain", "soon"}, `-drain: "soon" is not a duration; write it with a unit, such as 10s`},
		{"drain without unit", "", "", []string{"-drain", "10"}, `-drain: "10" is not a duration; write it with a unit, such as 10s`},
		{"negative drain", "", "", []string{"-drain", "-1s"}, `-drain: "-1s" is negative; give a duration such as 10s, or 0s`},
		{"absurd drain", "", "", []string{"-drain", "240h"}, `-drain: "240h" is longer than 1h; give a duration such as 10s`},
		{"drain by variable", "FLEETWIRE_DRAIN", "soon", nil, `-drain (FLEETWIRE_DRAIN): "soon" is not a duration; write it with a unit, such as 10s`},
		{"a proxy's address", "", "", []string{"-trusted-proxies", "10.0.0.1"}, `-trusted-proxies: "10.0.0.1" is not a network; write it as ADDRESS/BITS, such as 10.0.0.0/16, or 10.0.0.1/32 for one address`},
		{"one bad network of two", "", "", []string{"-trusted-proxies", "10.0.0.0/8,10.0.0.0/33"}, `-trusted-proxies: "10.0.0.0/33" is not a network`},
		{"a sink's address", "", "", []string{"-sink-networks", "10.0.0.1"}, `-sink-networks: "10.0.0.1" is not a network; write it as ADDRESS/BITS, such as 10.0.0.0/16, or 10.0.0.1/32 for one address`},
		{"sinks' networks by variable", "FLEETWIRE_SINK_NETWORKS", "all", nil, `-sink-networks (FLEETWIRE_SINK_NETWORKS): "all" is not a network`},
		{"networks by variable", "FLEETWIRE_TRUSTED_PROXIES", "all", nil, `-trusted-proxies (FLEETWIRE_TRUSTED_PROXIES): "all" is not a network`},
		{"a prefix with a colon", "", "", []string{"-redis-prefix", "fw:"}, `-redis-prefix: "fw:" is not a prefix; use 1 to 32 characters of a–z, 0–9, _ and -, the first a letter, such as fw`},
		{"an empty prefix", "", "", []string{"-redis-prefix="}, "-redis-prefix: is empty; give a word such as fw, or leave the flag out"},
		{"an empty CA", "", "", []string{"-redis-ca="}, "-redis-ca: is empty; give a PEM file such as redis-ca.pem, or leave the flag out"},
		{"insecure by half", "FLEETWIRE_REDIS_INSECURE", "perhaps", nil, `-redis-insecure (FLEETWIRE_REDIS_INSECURE): "perhaps" cannot be read; give true or false`},
		{"a prefix by variable", "FLEETWIRE_REDIS_PREFIX", "Fleet", nil, `-redis-prefix (FLEETWIRE_REDIS_PREFIX): "Fleet" is not a prefix; use`},
		{"a control plane, perhaps", "", "", []string{"-control-plane=maybe"}, `-control-plane: "maybe" cannot be read; give true or false`},
		{"a control plane by variable", "FLEETWIRE_CONTROL_PLANE", "maybe", nil, `-control-plane (FLEETWIRE_CONTROL_PLANE): "maybe" cannot be read; give true or false`},
		{"a console without a control plane", "", "", []string{"-console"}, "-console: the console needs REST on this node; add -control-plane, or leave -console out"},
		{"a console without a control plane, by variable", "FLEETWIRE_CONSOLE", "true", nil, "-console (FLEETWIRE_CONSOLE): the console needs REST on this node; add -control-plane, or leave -console out"},
		{"a console, perhaps", "", "", []string{"-console=maybe"}, `-console: "maybe" cannot be read; give true or false`},
		{"log format", "", "", []string{"-log-format", "xml"}, `-log-format: "xml" is not a log format; give text or json`},
		{"log level", "", "", []string{"-log-level", "loud"}, `-log-level: "loud" is not a log level; give debug, info, warn or error`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.env != "" {
				t.Setenv(tt.env, tt.value)
			}
			var stderr bytes.Buffer
			_, err := ParseConfig(tt.args, &stderr, defaults, "help")
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") || stderr.Len() > 0 {
				t.Errorf("more than one line: %q, and %q", err, &stderr)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	t.Setenv("FLEETWIRE_REDIS_URL", "redis://user:hush-hush@redis:6379")
	for _, arg := range []string{"-h", "-help", "--help"} {
		var stderr bytes.Buffer
		if _, err := ParseConfig([]string{arg}, &stderr, defaults, "fanout is a node."); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: error %v, want flag.ErrHelp", arg, err)
		}
		help := stderr.String()
		for _, want := range []string{"fanout is a node.\n", "-listen", "-ops", "-apps", "-redis", "-redis-prefix", "-redis-ca", "-redis-cert", "-redis-key", "-redis-insecure", "-drain", "-trusted-proxies", "-sink-networks", "-log-format", "-log-level",
			"127.0.0.1:8080", "10s", "FLEETWIRE_REDIS_URL", "FLEETWIRE_LOG_FORMAT"} {
			if !strings.Contains(help, want) {
				t.Errorf("%s does not say %q:\n%s", arg, want, help)
			}
		}
		if strings.Contains(help, "hush-hush") {
			t.Errorf("%s shows a password", arg)
		}
	}
}

// A program that serves the console by itself does so where it serves REST.
func TestConsoleFollowsTheControlPlane(t *testing.T) {
	both := Config{Listen: ":1", Ops: ":2", ControlPlane: true, Console: true}
	for _, tt := range []struct {
		args []string
		want bool
	}{
		{nil, true},
		{[]string{"-console=false"}, false},
		{[]string{"-control-plane=false"}, false},
		{[]string{"-control-plane=false", "-console=false"}, false},
	} {
		if c, err := ParseConfig(tt.args, io.Discard, both, ""); err != nil || c.Console != tt.want {
			t.Errorf("%q: %v, %v; want %v", tt.args, c.Console, err, tt.want)
		}
	}
	if _, err := ParseConfig([]string{"-control-plane=false", "-console"}, io.Discard, both, ""); err == nil {
		t.Error("a console that was asked for, without REST, is left out in silence")
	}
}

// A key or a password in the wrong place must not end up in a log.
func TestErrorsShowNoSecret(t *testing.T) {
	const secret = "5ec4e7000000000000000000000000000000000000000001"
	refused := 0
	try := func(name string, args ...string) {
		t.Helper()
		var log bytes.Buffer
		_, err := ParseConfig(args, &log, defaults, "help")
		if err != nil {
			refused++
		}
		if said := fmt.Sprint(err, &log); strings.Contains(said, secret) {
			t.Errorf("%s shows it: %s", name, said)
		}
	}
	shapes := []string{"%s", "%s:80", ":%s", "127.0.0.1:%s", "10.0.0.0/8,%s", "sk_live_x:%s", "--%s", "[%s]:1", "%s.example.com"}
	for _, shape := range shapes {
		value := fmt.Sprintf(shape, secret)
		try("an argument", value)
		try("an argument behind --", "--", value)
		try("a flag's name", "-"+value)
		try("a flag with a value", "-"+value+"="+value)
		try("hyphens", "---"+value)
		for name := range examples {
			try("-"+name, "-"+name, value)
			t.Run(name, func(t *testing.T) {
				t.Setenv(envName(name), value)
				try(envName(name))
			})
		}
		t.Run("variable", func(t *testing.T) {
			t.Setenv("FLEETWIRE_"+secret, value)
			try("an unknown variable")
		})
	}
	if refused < 10*len(shapes) {
		t.Errorf("only %d were refused", refused)
	}
}

// A misspelt variable would change nothing, in silence.
func TestUnknownVariables(t *testing.T) {
	for name, value := range map[string]string{"FLEETWIRE_TRUSTED_PROXY": "hush-hush", "FLEETWIRE_REDIS": "hush-hush",
		"FLEETWIRE_URL": "http://127.0.0.1", "FLEETWIRE_SECRET_KEY": "sk", "FLEETWIRE_PROVISIONING_SECRET": "any", "FLEETWIRE_TARGET_GROUP_ARN": "", "FLEETWIRE_DRAIN": "", "FLEETWIRE_LISTEN": ":1"} {
		t.Setenv(name, value)
	}
	var log bytes.Buffer
	if _, err := ParseConfig(nil, &log, defaults, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"variable=FLEETWIRE_REDIS\n", "variable=FLEETWIRE_TRUSTED_PROXY\n"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log has not one line with %s:\n%s", want, &log)
		}
	}
	if strings.Count(log.String(), "\n") != 2 || strings.Contains(log.String(), "hush-hush") {
		t.Errorf("the log is\n%s", &log)
	}
}
