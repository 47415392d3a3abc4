package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// RedisOptions say which Redis a node works with, and how it gets there.
type RedisOptions struct {
	URL, Prefix string
	TLS         redisconn.TLS
	Log         *slog.Logger
}

// OpenRedis connects to Redis and checks that it works. keys name what is in it,
// with the prefix and in the database of the URL. An error names the flag that it
// is about, and never shows the URL.
func OpenRedis(ctx context.Context, opt RedisOptions) (rdb redis.UniversalClient, keys rediskeys.Namespace, err error) {
	rdb, err = redisconn.Open(opt.URL, opt.TLS)
	var setting *redisconn.SettingError
	switch {
	case errors.As(err, &setting):
		return nil, keys, fmt.Errorf("-redis-%s: %w", setting.Setting, setting.Err)
	case err != nil:
		return nil, keys, fmt.Errorf("-redis: %w", err)
	}
	warnTLS(rdb, opt)
	if keys, err = rediskeys.New(opt.Prefix, redisconn.Database(rdb)); err != nil {
		err = fmt.Errorf("-redis-prefix: %w", err)
	} else if err = receiver.Check(ctx, rdb, keys); err != nil {
		err = fmt.Errorf("-redis: %w", redisconn.Advise(rdb, err))
	}
	if err != nil {
		_ = rdb.Close()
		return nil, keys, err
	}
	return rdb, keys, nil
}

func warnTLS(rdb redis.UniversalClient, opt RedisOptions) {
	if redisconn.Unverified(rdb) {
		opt.Log.Warn("the certificate of redis is not verified, as its URL says skip_verify=true: whoever is in between can pose as redis")
	}
	if opt.TLS.Key == "" {
		return
	}
	if exposed := apps.Exposed(opt.TLS.Key); exposed != "" {
		opt.Log.Warn("the key of -redis-key", "warning", exposed)
	}
}
