package lambda

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"fleetwire/pkg/awssecret"
	"fleetwire/pkg/redact"
	"fleetwire/pkg/rediskeys"
)

// settings is a function's configuration. An empty variable counts as not set.
type settings struct {
	apps  string // FLEETWIRE_APPS: the ARN of a secret, a file, or the document itself
	redis string // FLEETWIRE_REDIS_URL: the ARN of a secret, or the URL itself
	// prefix is FLEETWIRE_REDIS_PREFIX: what the names of everything in Redis begin
	// with, as on the nodes; "" for the default.
	prefix string
}

func settingsFromEnvironment() settings {
	return settings{
		apps:   strings.TrimSpace(os.Getenv("FLEETWIRE_APPS")),
		redis:  strings.TrimSpace(os.Getenv("FLEETWIRE_REDIS_URL")),
		prefix: strings.TrimSpace(os.Getenv("FLEETWIRE_REDIS_PREFIX")),
	}
}

// known are the variables that begin as settings do. FLEETWIRE_REDIS_URL_VERSION only makes
// Lambda start functions anew when the secret has another version.
var known = []string{"FLEETWIRE_APPS", "FLEETWIRE_REDIS_URL", "FLEETWIRE_REDIS_PREFIX", "FLEETWIRE_REDIS_URL_VERSION", "FLEETWIRE_LOG_LEVEL"}

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
	return err
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
