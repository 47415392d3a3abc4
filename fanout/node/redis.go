package node

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/broker"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// OpenRedis connects to the Redis at url and checks that it works. keys name
// what is in it, with the prefix and in the database of the URL. An error names
// the flag that it is about, and never shows the URL.
func OpenRedis(ctx context.Context, url, prefix string, embedded bool) (rdb *redis.Client, keys rediskeys.Namespace, err error) {
	rdb, err = redisconn.Open(url)
	if err != nil {
		return nil, keys, fmt.Errorf("-redis: %w", err)
	}
	if keys, err = rediskeys.New(prefix, rdb.Options().DB); err != nil {
		err = fmt.Errorf("-redis-prefix: %w", err)
	} else if err = broker.Check(ctx, rdb, keys, embedded); err != nil {
		err = fmt.Errorf("-redis: %w", err)
	}
	if err != nil {
		_ = rdb.Close()
		return nil, keys, err
	}
	return rdb, keys, nil
}
