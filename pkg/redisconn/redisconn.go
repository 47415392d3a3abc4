// Package redisconn opens the connection to Redis that everything shares: it
// reads the URL, sets the timeouts that keep a node answering when Redis does
// not, watches whether Redis is there, and lets callers that wait at the same
// time share one round trip.
package redisconn

import (
	"context"
	"fmt"
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
	// askPatience bounds the question whether one address is of a cluster.
	askPatience = time.Second
)

func init() {
	// go-redis prints its own lines about lost connections. Health and
	// the receiver report the same as structured logs, once.
	logging.Disable()
}

// Open reads a URL and returns a client for it, whose pipelines share round trips when
// they wait at the same time: a *redis.Client for redis://user:password@host:6379/0 and
// unix://path, and for a primary that Sentinels name
// (redis+sentinel://host:26379,host:26379/mymaster); a *redis.ClusterClient for nodes of a
// cluster (redis://host:6379,host:6379), or one address that turns out to be one's.
// rediss:// and rediss+sentinel:// are for TLS.
//
// One address is asked once, for at most a second, whether it is of a cluster. If it does not
// answer it is taken for one server, and if it is a cluster, connections fail with an error
// that BecameCluster knows. Open connects to nothing else.
//
// An error never contains the URL, which may hold a password; about a part of
// security it is a SettingError.
func Open(url string, security TLS) (redis.UniversalClient, error) {
	return OpenWithin(askPatience, url, security)
}

// OpenWithin is Open that asks for at most as long as patience.
func OpenWithin(patience time.Duration, url string, security TLS) (redis.UniversalClient, error) {
	l, err := open(url, security)
	switch {
	case err != nil:
		return nil, err
	case l.sentinel != nil:
		return newFailover(l), nil
	case l.cluster():
		return newCluster(l.addrs, l.opt), nil
	}
	rdb := newClient(l.opt, oneServer)
	if !isCluster(rdb, patience) {
		return rdb, nil
	}
	_ = rdb.Close()
	if l.opt.DB != 0 {
		return nil, errDatabase
	}
	return newCluster(l.addrs, l.opt), nil
}

// open reads a URL, and sets what does not depend on it.
func open(url string, security TLS) (*location, error) {
	l, err := locate(url)
	if err != nil {
		return nil, err
	}
	opt := l.opt
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
	return l, nil
}

func newClient(opt *redis.Options, want form) *redis.Client {
	rdb := redis.NewClient(opt)
	rdb.AddHook(newPipelines())
	rdb.AddHook(handshake{want})
	return rdb
}

// isCluster asks a Redis. The connection stays for the pipelines that follow.
func isCluster(rdb *redis.Client, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(Alone(context.Background()), patience)
	defer cancel()
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Ping(ctx).Err() })
	return BecameCluster(err)
}

// Own returns a client of the same Redis with connections of its own (to each node), for a
// caller that mostly waits for Redis, and ends the wait by closing the client.
func Own(rdb redis.UniversalClient) redis.UniversalClient {
	switch rdb := rdb.(type) {
	case *redis.ClusterClient:
		opt := *rdb.Options()
		opt.PoolSize = 1
		return NewCluster(&opt)
	case *redis.Client:
		opt := *rdb.Options()
		opt.PoolSize = 1
		opt.MaxRetries = -1 // Options says 0, which NewClient would take for 3
		return newClient(&opt, anyForm)
	}
	panic(fmt.Sprintf("redisconn: %T is no client of Open", rdb))
}

// Database is the number of the client's database.
func Database(rdb redis.UniversalClient) int {
	if one, ok := rdb.(*redis.Client); ok {
		return one.Options().DB
	}
	return 0
}
