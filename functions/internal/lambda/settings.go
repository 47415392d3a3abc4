package lambda

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"fleetwire/pkg/awssecret"
	"fleetwire/pkg/redact"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// settings is a function's configuration. An empty variable counts as not set.
type settings struct {
	apps  string // FLEETWIRE_APPS: the ARN of a secret, a file, or the document itself
	redis string // FLEETWIRE_REDIS_URL: the ARN of a secret, or the URL itself
	// prefix is FLEETWIRE_REDIS_PREFIX: what the names of everything in Redis begin
	// with, as on the nodes; "" for the default.
	prefix string
	// ca, cert and key are FLEETWIRE_REDIS_CA, FLEETWIRE_REDIS_CERT and
	// FLEETWIRE_REDIS_KEY: PEM files in the function's package or a layer. Those must
	// be readable by every user there, so nothing warns of a key that is.
	ca, cert, key string
	insecure      string // FLEETWIRE_REDIS_INSECURE: "true" allows skip_verify=true in the URL
}

func settingsFromEnvironment() settings {
	variable := func(name string) string { return strings.TrimSpace(os.Getenv(name)) }
	return settings{
		apps:     variable("FLEETWIRE_APPS"),
		redis:    variable("FLEETWIRE_REDIS_URL"),
		prefix:   variable("FLEETWIRE_REDIS_PREFIX"),
		ca:       variable("FLEETWIRE_REDIS_CA"),
		cert:     variable("FLEETWIRE_REDIS_CERT"),
		key:      variable("FLEETWIRE_REDIS_KEY"),
		insecure: variable("FLEETWIRE_REDIS_INSECURE"),
	}
}

// known are the variables that begin as settings do. FLEETWIRE_REDIS_URL_VERSION only makes
// Lambda start functions anew when the secret has another version.
var known = []string{"FLEETWIRE_APPS", "FLEETWIRE_REDIS_URL", "FLEETWIRE_REDIS_PREFIX", "FLEETWIRE_REDIS_URL_VERSION",
	"FLEETWIRE_REDIS_CA", "FLEETWIRE_REDIS_CERT", "FLEETWIRE_REDIS_KEY", "FLEETWIRE_REDIS_INSECURE", "FLEETWIRE_LOG_LEVEL"}

// warnUnknown names variables that look like settings and are none, such as misspelt ones.
func warnUnknown(environment []string, log *slog.Logger) {
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "FLEETWIRE_") && !slices.Contains(known, name) {
			log.Warn("an environment variable is no setting of a function and changes nothing", "variable", redact.Name(name), "known", known)
		}
	}
}

// check says which variable is missing or wrong, and what belongs in it.
func (s settings) check() error {
	var err error
	if s.apps == "" {
		err = errors.New("FLEETWIRE_APPS is not set: it takes the ARN of the secret that holds the apps document, or the document itself")
	}
	if s.redis == "" {
		err = errors.Join(err, errors.New("FLEETWIRE_REDIS_URL is not set: it takes the ARN of the secret that holds the Redis URL, or the URL itself, as in rediss://:password@host:6379"))
	}
	if _, wrong := s.keys(0); wrong != nil {
		err = errors.Join(err, fmt.Errorf("FLEETWIRE_REDIS_PREFIX: %w", wrong))
	}
	if _, wrong := s.tls(); wrong != nil {
		err = errors.Join(err, wrong)
	}
	return err
}

// tls is how Redis is reached by rediss://.
func (s settings) tls() (redisconn.TLS, error) {
	insecure, err := strconv.ParseBool(cmp.Or(s.insecure, "false"))
	if err != nil {
		err = fmt.Errorf("FLEETWIRE_REDIS_INSECURE: %s cannot be read; give true or false", redact.Value(s.insecure))
	}
	return redisconn.TLS{CA: s.ca, Cert: s.cert, Key: s.key, Insecure: insecure}, err
}

// keys names what is in that database of Redis.
func (s settings) keys(database int) (rediskeys.Namespace, error) {
	return rediskeys.New(cmp.Or(s.prefix, rediskeys.DefaultPrefix), database)
}

// fromSecrets says whether anything is there to be read again.
func (s settings) fromSecrets() bool {
	return awssecret.IsARN(s.apps) || awssecret.IsARN(s.redis)
}

// logger writes JSON lines, which CloudWatch takes apart. A wrong
// FLEETWIRE_LOG_LEVEL is no reason not to serve. pkg/telemetry would do the same,
// and link Prometheus into every function.
func logger(w io.Writer, level string) *slog.Logger {
	least := slog.LevelInfo
	err := least.UnmarshalText([]byte(cmp.Or(strings.TrimSpace(level), "info")))
	log := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: least}))
	if err != nil {
		log.Warn("FLEETWIRE_LOG_LEVEL is not a log level, so info is used; set debug, info, warn or error", "is", redact.Value(level))
	}
	return log
}
