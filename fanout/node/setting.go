package node

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"fleetwire/pkg/redact"
)

// examples say what a flag takes.
var examples = map[string]string{
	"listen":          "an address such as 127.0.0.1:8080, or :8080 for every interface",
	"ops":             `an address such as 127.0.0.1:8081, or "off" for none`,
	"apps":            "a file such as apps.json",
	"redis":           "a URL such as redis://127.0.0.1:6379/0",
	"redis-prefix":    "a word such as fw",
	"redis-ca":        "a PEM file such as redis-ca.pem",
	"redis-cert":      "a PEM file such as redis-client.pem",
	"redis-key":       "a PEM file such as redis-client.key",
	"redis-insecure":  "true or false",
	"control-plane":   "true or false",
	"console":         "true or false",
	"drain":           "a duration such as 10s",
	"trusted-proxies": "networks such as 10.0.0.0/16,192.168.0.0/24",
	"sink-networks":   "networks such as 10.20.0.0/16,192.168.0.7/32",
	"log-format":      "text or json",
	"log-level":       "debug, info, warn or error",
}

// envNames are the variables whose name is not simply the flag's.
var envNames = map[string]string{"redis": "FLEETWIRE_REDIS_URL"}

// otherVariables are those that are not flags: of a node on AWS, of a task definition, and of
// clients that are started from the same shell as localdev.
var otherVariables = []string{"FLEETWIRE_TARGET_GROUP_ARN", "FLEETWIRE_REDIS_URL_VERSION", "FLEETWIRE_URL", "FLEETWIRE_SECRET_KEY", "FLEETWIRE_CONTEXT", "FLEETWIRE_PROVISIONING_SECRET"}

// testVariables begins the names that tests of Fleetwire itself use.
const testVariables = "FLEETWIRE_TEST_"

func envName(flagName string) string {
	if name, ok := envNames[flagName]; ok {
		return name
	}
	return "FLEETWIRE_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// readEnvironment gives the flags the values of their variables. An empty one counts
// as not set: it is what a compose file passes on for a variable that is not set.
// It returns, by flag, what an error adds to the flag's name, and the names of
// variables that look like settings and are none.
func readEnvironment(fs *flag.FlagSet, environment []string) (from map[string]string, unknown []string, err error) {
	from = map[string]string{}
	values := map[string]string{}
	for _, entry := range environment {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "FLEETWIRE_") {
			values[name] = value
		}
	}
	fs.VisitAll(func(f *flag.Flag) {
		name := envName(f.Name)
		value := strings.TrimSpace(values[name]) // mounted secrets often end in a newline
		delete(values, name)
		if value == "" {
			return
		}
		// The value alone, past fs.Set: Visit is to find what the command line gave.
		if f.Value.Set(value) != nil && err == nil {
			err = fmt.Errorf("-%s (%s): %s cannot be read; give %s", f.Name, name, redact.Value(value), examples[f.Name])
		}
		from[f.Name] = " (" + name + ")"
	})
	for name := range values {
		if !slices.Contains(otherVariables, name) && !strings.HasPrefix(name, testVariables) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return from, unknown, err
}

// checkAddress refuses what net.Listen would take for a random port or refuse in
// words that do not help.
func checkAddress(address string) error {
	const want = "write it as HOST:PORT, such as 127.0.0.1:8080, or :8080 for every interface"
	_, port, err := net.SplitHostPort(address)
	switch {
	case err != nil && !strings.Contains(address, ":"):
		return fmt.Errorf("%s has no port; %s", redact.Place(address), want)
	case err != nil:
		return fmt.Errorf("%s is not an address; %s", redact.Place(address), want)
	case port == "":
		return fmt.Errorf("%s has no port; %s", redact.Place(address), want)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s has the port %s, which is not a number from 0 to 65535; %s", redact.Place(address), redact.Value(port), want)
	}
	return nil
}

// opsAddress is "" for none.
func opsAddress(text string) (string, error) {
	if text == "off" {
		return "", nil
	}
	if err := checkAddress(text); err != nil {
		return "", fmt.Errorf("%w; \"off\" for none", err)
	}
	return text, nil
}

// maxDrain is longer than any orchestrator waits for a process to end.
const maxDrain = time.Hour

func parseDrain(text string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s is not a duration; write it with a unit, such as 10s", redact.Value(text))
	case d < 0:
		return 0, fmt.Errorf("%s is negative; give a duration such as 10s, or 0s to close all connections at once", redact.Value(text))
	case d > maxDrain:
		return 0, fmt.Errorf("%s is longer than 1h; give a duration such as 10s", redact.Value(text))
	}
	return d, nil
}

func parseNetworks(text string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, p := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		network, err := netip.ParsePrefix(p)
		if err != nil {
			return nil, fmt.Errorf("%s is not a network; write it as ADDRESS/BITS, such as 10.0.0.0/16, or 10.0.0.1/32 for one address", redact.Place(p))
		}
		networks = append(networks, network)
	}
	return networks, nil
}

func checkLogFormat(text string) error {
	if text != "text" && text != "json" {
		return fmt.Errorf("%s is not a log format; give text or json", redact.Value(text))
	}
	return nil
}

func checkLogLevel(text string) error {
	if new(slog.Level).UnmarshalText([]byte(text)) != nil {
		return fmt.Errorf("%s is not a log level; give debug, info, warn or error", redact.Value(text))
	}
	return nil
}

// listen takes an address. Its error leaves out the host, which is cut in Place.
func listen(option, address string, leave Spare, log *slog.Logger) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err == nil {
		return Lasting(l, option, leave, log), nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		err = errors.New(dns.Err)
	}
	return nil, &ListenError{option, fmt.Errorf("cannot listen on %s: %w", redact.Place(address), err)}
}
