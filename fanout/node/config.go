package node

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"fleetwire/pkg/telemetry"
)

// Config is what a program that runs a node reads from its command line. Each
// flag is also an environment variable: -trusted-proxies is
// FLEETWIRE_TRUSTED_PROXIES. The flag wins.
type Config struct {
	Listen, Ops, Apps, Redis string
	Drain                    time.Duration
	TrustedProxies           []netip.Prefix
	Log                      *slog.Logger
}

// envNames are the variables whose name is not simply the flag's.
var envNames = map[string]string{"redis": "FLEETWIRE_REDIS_URL"}

func envName(flagName string) string {
	if name, ok := envNames[flagName]; ok {
		return name
	}
	return "FLEETWIRE_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// ParseConfig reads the command line. defaults holds the defaults of Listen,
// Ops, Apps and Redis; help is what -h says first. An error is one line that
// names the flag; flag.ErrHelp means that the help has been printed.
func ParseConfig(args []string, stderr io.Writer, defaults Config, help string) (Config, error) {
	c := defaults
	var proxies, format, level string
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.Listen, "listen", defaults.Listen, "address for sockets and, in localdev, REST")
	fs.StringVar(&c.Ops, "ops", defaults.Ops, "address for /healthz, /readyz and /metrics; keep it private; \"off\" for none")
	fs.StringVar(&c.Apps, "apps", defaults.Apps, "the apps document: a file, the JSON itself or, for fanout, the ARN of an AWS secret; a file or secret is read again while running")
	fs.StringVar(&c.Redis, "redis", defaults.Redis, "Redis (≥ 7), as in redis://127.0.0.1:6379/0 or rediss://user:password@host:6379")
	fs.DurationVar(&c.Drain, "drain", DefaultDrain, "over how long connections are closed on SIGTERM")
	fs.StringVar(&proxies, "trusted-proxies", "", "networks, separated by commas, whose X-Forwarded-For is believed, as in 10.0.0.0/16")
	fs.StringVar(&format, "log-format", "text", "log lines as text or json")
	fs.StringVar(&level, "log-level", "info", "least level logged: debug, info, warn or error")

	var err error
	fs.VisitAll(func(f *flag.Flag) {
		if value, ok := os.LookupEnv(envName(f.Name)); ok && err == nil {
			if e := fs.Set(f.Name, value); e != nil {
				err = fmt.Errorf("%s=%q (flag -%s): %w", envName(f.Name), value, f.Name, e)
			}
		}
	})
	if err != nil {
		return c, err
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(stderr, "%s\n\nEach flag is also an environment variable, -redis as FLEETWIRE_REDIS_URL, the others as -log-format is FLEETWIRE_LOG_FORMAT.\n\n", help)
			fs.SetOutput(stderr)
			fs.PrintDefaults()
		}
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q: everything is given by flags, see -h", fs.Arg(0))
	}
	if c.Ops == "off" {
		c.Ops = ""
	}
	if c.Drain < 0 {
		return c, fmt.Errorf("-drain %v: must not be negative", c.Drain)
	}
	for _, p := range strings.FieldsFunc(proxies, func(r rune) bool { return r == ',' || r == ' ' }) {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			return c, fmt.Errorf("-trusted-proxies: %q is not a network such as 10.0.0.0/16", p)
		}
		c.TrustedProxies = append(c.TrustedProxies, prefix)
	}
	if c.Log, err = telemetry.NewLogger(stderr, format, level); err != nil {
		return c, fmt.Errorf("-log-format, -log-level: %w", err)
	}
	return c, nil
}
