// Package redisconn opens the connection to Redis that everything shares: it
// reads the URL, sets the timeouts that keep a node answering when Redis does
// not, watches whether Redis is there, and lets callers that wait at the same
// time share one round trip.
package redisconn

import (
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// dialTimeout and ioTimeout bound how long a publish can wait for a Redis
	// that has stopped answering; the REST answer is 503 after that.
	dialTimeout = time.Second
	ioTimeout   = 1500 * time.Millisecond
)

func init() {
	// go-redis prints its own lines about lost connections. Health and
	// the receiver report the same as structured logs, once.
	logging.Disable()
}

// Open reads a URL such as redis://user:password@host:6379/0 (rediss:// for
// TLS, unix:// for a socket) and returns a client for it, whose pipelines share
// round trips when they wait at the same time. It does not connect.
// An error never contains the URL, which may hold a password; about a part of
// security it is a SettingError.
func Open(url string, security TLS) (*redis.Client, error) {
	if !strings.HasPrefix(url, "redis://") && !strings.HasPrefix(url, "rediss://") && !strings.HasPrefix(url, "unix://") {
		return nil, errors.New("the Redis URL must begin with redis://, rediss:// (TLS) or unix://, as in redis://127.0.0.1:6379/0")
	}
	opt, err := redis.ParseURL(url)
	if err != nil || opt.DB < 0 { // go-redis takes a negative number for 0
		// err quotes parts of the URL, and what it takes for a port or a path can be
		// a password with a slash in it.
		return nil, errors.New("the Redis URL cannot be read; want redis://[user:password@]host:port[/database number], with characters such as / ? # % [ in the password written as %2F %3F %23 %25 %5B")
	}
	if err := security.apply(opt); err != nil {
		return nil, err
	}
	opt.Protocol = 2
	opt.DialTimeout = dialTimeout
	opt.ReadTimeout = ioTimeout
	opt.WriteTimeout = ioTimeout
	opt.PoolTimeout = ioTimeout
	opt.ContextTimeoutEnabled = true
	// A retry of a publish that Redis did take would deliver it twice
	// (protocol §4.4: after backend_error it is the caller who retries).
	opt.MaxRetries = -1
	opt.DialerRetries = 1
	opt.DisableIdentity = true
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	rdb := redis.NewClient(opt)
	rdb.AddHook(newPipelines())
	rdb.AddHook(handshake{})
	return rdb, nil
}
