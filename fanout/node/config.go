package node

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fleetwire/pkg/redact"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/telemetry"
)

// Config is what a program that runs a node reads from its command line. Each
// flag is also an environment variable: -trusted-proxies is
// FLEETWIRE_TRUSTED_PROXIES. The flag wins.
type Config struct {
	Listen, Ops, Apps, Redis string
	RedisPrefix              string
	RedisTLS                 redisconn.TLS
	Drain                    time.Duration
	TrustedProxies           []netip.Prefix
	SinkNetworks             []netip.Prefix
	ControlPlane             bool
	Console                  bool
	LogFormat                string // "text" or "json"
	Log                      *slog.Logger
}

// ParseConfig reads the command line. defaults holds the defaults of Listen,
// Ops, Apps, Redis, Drain (0: DefaultDrain), ControlPlane and Console; help is what -h says first. An error is one
// line that names the flag and shows no value longer than 12 bytes; flag.ErrHelp
// means that the help has been printed.
func ParseConfig(args []string, stderr io.Writer, defaults Config, help string) (Config, error) {
	c := defaults
	var drain, proxies, sinkNetworks, level string
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.Listen, "listen", defaults.Listen, "address for sockets and, with a control plane, REST")
	fs.BoolVar(&c.ControlPlane, "control-plane", defaults.ControlPlane, "serve REST (tokens, publish, peers, usage) on -listen too, where no Lambda functions do it")
	fs.BoolVar(&c.Console, "console", defaults.Console, "serve the console, a web page to look after an app with, on -listen at /console/; it needs -control-plane")
	fs.StringVar(&c.Ops, "ops", defaults.Ops, "address for /healthz, /readyz and /metrics; keep it private; \"off\" for none")
	fs.StringVar(&c.Apps, "apps", defaults.Apps, "the apps document: a file, the JSON itself or, for fanout, the ARN of an AWS secret; a file or secret is read again while running")
	fs.StringVar(&c.Redis, "redis", defaults.Redis, "Redis (≥ 7.0.9) or Valkey: one server or any node of a cluster, as in redis://127.0.0.1:6379/0 or rediss://user:password@host:6379 (TLS); nodes of a cluster, as in redis://host:6379,host:6379; or a primary and its Sentinels, as in redis+sentinel://host:26379,host:26379/mymaster")
	fs.StringVar(&c.RedisPrefix, "redis-prefix", rediskeys.DefaultPrefix, "what the names of everything in Redis begin with; another for each deployment that shares a database")
	fs.StringVar(&c.RedisTLS.CA, "redis-ca", "", "PEM file with the CA that signed the certificates of a rediss:// Redis, of each node and Sentinel; without it, the system's")
	fs.StringVar(&c.RedisTLS.Cert, "redis-cert", "", "PEM file with the certificate that this program shows to a rediss:// Redis, its nodes and Sentinels")
	fs.StringVar(&c.RedisTLS.Key, "redis-key", "", "PEM file with the key of -redis-cert; keep it readable by its owner alone")
	fs.BoolVar(&c.RedisTLS.Insecure, "redis-insecure", false, "let the Redis URL say skip_verify=true: whoever is in between can then pose as Redis")
	fs.StringVar(&drain, "drain", cmp.Or(defaults.Drain, DefaultDrain).String(), "over how long connections are closed on SIGTERM, at most 1h")
	fs.StringVar(&proxies, "trusted-proxies", "", "networks, separated by commas, whose X-Forwarded-For is believed, as in 10.0.0.0/16")
	fs.StringVar(&sinkNetworks, "sink-networks", "", "networks, separated by commas, that webhooks of sinks may reach although they are private, by http:// too, as in 10.20.0.0/16")
	fs.StringVar(&c.LogFormat, "log-format", "text", "log lines as text or json")
	fs.StringVar(&level, "log-level", "info", "least level logged: debug, info, warn or error")

	fromVariable, unknown, err := readEnvironment(fs, os.Environ())
	if err != nil {
		return c, err
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printHelp(fs, stderr, help)
			return c, err
		}
		return c, badFlag(err)
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %s: everything is given by flags, as in -listen 127.0.0.1:8080; see -h", redact.Value(fs.Arg(0)))
	}
	consoleAsked := fromVariable["console"] != ""
	fs.Visit(func(f *flag.Flag) {
		consoleAsked = consoleAsked || f.Name == "console"
		if value := f.Value.String(); strings.TrimSpace(value) == "" && err == nil {
			err = fmt.Errorf("-%s: is empty; give %s, or leave the flag out", f.Name, examples[f.Name])
		}
	})
	if err != nil {
		return c, err
	}
	if c.Console && !c.ControlPlane && consoleAsked {
		return c, fmt.Errorf("-console%s: the console needs REST on this node; add -control-plane, or leave -console out", fromVariable["console"])
	}
	c.Console = c.Console && c.ControlPlane
	for _, read := range []struct {
		flag string
		into func() error
	}{
		{"listen", func() error { return checkAddress(c.Listen) }},
		{"ops", func() error { c.Ops, err = opsAddress(c.Ops); return err }},
		{"redis-prefix", func() error { _, err := rediskeys.New(c.RedisPrefix, 0); return err }},
		{"drain", func() error { c.Drain, err = parseDrain(drain); return err }},
		{"trusted-proxies", func() error { c.TrustedProxies, err = parseNetworks(proxies); return err }},
		{"sink-networks", func() error { c.SinkNetworks, err = parseNetworks(sinkNetworks); return err }},
		{"log-format", func() error { return checkLogFormat(c.LogFormat) }},
		{"log-level", func() error { return checkLogLevel(level) }},
	} {
		if err := read.into(); err != nil {
			return c, fmt.Errorf("-%s%s: %w", read.flag, fromVariable[read.flag], err)
		}
	}
	if c.Log, err = telemetry.NewLogger(stderr, c.LogFormat, level); err != nil {
		return c, fmt.Errorf("-log-format, -log-level: %w", err)
	}
	for _, name := range unknown {
		c.Log.Warn("an environment variable is no setting of this program and changes nothing; -h lists those there are", "variable", redact.Name(name))
	}
	return c, nil
}

// badValue finds the value, quoted, and the flag in what package flag says of a value
// that the flag refuses.
var badValue = regexp.MustCompile(`(".*") for (?:flag )?-([a-z-]+): [^:"]*$`)

// badFlag says of package flag's errors, which repeat what was given, what would do.
func badFlag(err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return fmt.Errorf("unknown flag -%s; -h lists all flags", redact.Name(name))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return fmt.Errorf("-%s: has no value; give %s", name, examples[name])
	}
	if given, ok := strings.CutPrefix(text, "bad flag syntax: "); ok {
		return fmt.Errorf("%s is not a flag, which looks like -listen 127.0.0.1:8080; see -h", redact.Value(given))
	}
	if m := badValue.FindStringSubmatch(text); m != nil {
		given, _ := strconv.Unquote(m[1])
		return fmt.Errorf("-%s: %s cannot be read; give %s", m[2], redact.Value(given), examples[m[2]])
	}
	return errors.New("a flag cannot be read; -h lists all flags")
}

func printHelp(fs *flag.FlagSet, w io.Writer, help string) {
	fmt.Fprintf(w, "%s\n\nEach flag is also an environment variable, -redis as FLEETWIRE_REDIS_URL, the others as -log-format is FLEETWIRE_LOG_FORMAT.\n"+
		"The flag wins; an empty variable counts as not set.\n\n", help)
	fs.SetOutput(w)
	fs.PrintDefaults()
}
