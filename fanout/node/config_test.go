package node

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

var defaults = Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081"}

func TestParseConfig(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want Config
	}{
		{"nothing", nil, nil, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", Drain: 10 * time.Second}},
		{"all flags", nil, []string{"-listen", ":1", "-ops", ":2", "-apps", "a.json", "-redis", "redis://r", "-drain", "3s", "-trusted-proxies", "10.0.0.0/8, 2001:db8::/32"},
			Config{":1", ":2", "a.json", "redis://r", 3 * time.Second, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}, nil}},
		{"all variables", map[string]string{"FLEETWIRE_LISTEN": ":1", "FLEETWIRE_OPS": ":2", "FLEETWIRE_APPS": "a.json", "FLEETWIRE_REDIS_URL": "redis://r",
			"FLEETWIRE_DRAIN": "1m", "FLEETWIRE_TRUSTED_PROXIES": "10.0.0.0/8", "FLEETWIRE_LOG_FORMAT": "json", "FLEETWIRE_LOG_LEVEL": "debug"}, nil,
			Config{":1", ":2", "a.json", "redis://r", time.Minute, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, nil}},
		{"the flag wins", map[string]string{"FLEETWIRE_LISTEN": ":1", "FLEETWIRE_REDIS_URL": "redis://env"}, []string{"-listen=:9", "--redis", "redis://flag"},
			Config{Listen: ":9", Ops: "127.0.0.1:8081", Redis: "redis://flag", Drain: 10 * time.Second}},
		{"no operations address", nil, []string{"-ops", "off"}, Config{Listen: "127.0.0.1:8080", Drain: 10 * time.Second}},
		{"no drain", nil, []string{"-drain", "0"}, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081"}},
		{"a document inline", nil, []string{"-apps", `{"apps":[]}`}, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", Apps: `{"apps":[]}`, Drain: 10 * time.Second}},
		{"FLEETWIRE_REDIS is not a name", map[string]string{"FLEETWIRE_REDIS": "redis://r"}, nil, Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", Drain: 10 * time.Second}},
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
		want             []string
	}{
		{"unknown flag", "", "", []string{"-nonsense"}, []string{"-nonsense"}},
		{"argument", "", "", []string{"serve"}, []string{`"serve"`, "-h"}},
		{"flag without value", "", "", []string{"-listen"}, []string{"-listen"}},
		{"drain", "", "", []string{"-drain", "soon"}, []string{"-drain", "soon"}},
		{"drain without unit", "", "", []string{"-drain", "10"}, []string{"-drain", "10"}},
		{"negative drain", "", "", []string{"-drain", "-1s"}, []string{"-drain", "-1s"}},
		{"drain by variable", "FLEETWIRE_DRAIN", "soon", nil, []string{"FLEETWIRE_DRAIN", "-drain"}},
		{"a proxy's address", "", "", []string{"-trusted-proxies", "10.0.0.1"}, []string{"-trusted-proxies", "10.0.0.1", "10.0.0.0/16"}},
		{"one bad network of two", "", "", []string{"-trusted-proxies", "10.0.0.0/8,10.0.0.0/33"}, []string{"-trusted-proxies", "10.0.0.0/33"}},
		{"networks by variable", "FLEETWIRE_TRUSTED_PROXIES", "all", nil, []string{"-trusted-proxies", "all"}},
		{"log format", "", "", []string{"-log-format", "xml"}, []string{"-log-format", "xml", "json"}},
		{"log level", "", "", []string{"-log-level", "loud"}, []string{"-log-level", "loud", "debug"}},
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
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
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
		for _, want := range []string{"fanout is a node.\n", "-listen", "-ops", "-apps", "-redis", "-drain", "-trusted-proxies", "-log-format", "-log-level",
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
