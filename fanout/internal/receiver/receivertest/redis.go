package receivertest

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
)

// each calls f with every Redis that has keys: the server, or all masters of the cluster.
func (s *system) each(f func(rdb redis.UniversalClient)) {
	s.t.Helper()
	cluster, ok := s.Redis.(*redis.ClusterClient)
	if !ok {
		f(s.Redis)
		return
	}
	var mu sync.Mutex
	err := cluster.ForEachMaster(context.Background(), func(_ context.Context, master *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		f(master)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// keys are the keys in Redis that a glob matches.
func (s *system) keys(glob string) (all []string) {
	s.t.Helper()
	s.each(func(rdb redis.UniversalClient) {
		found, err := rdb.Keys(context.Background(), glob).Result()
		if err != nil {
			s.t.Error(err)
		}
		all = append(all, found...)
	})
	return all
}

// wildcards is how many subscriptions Redis has that are for patterns.
func (s *system) wildcards() (n int64) {
	s.t.Helper()
	s.each(func(rdb redis.UniversalClient) {
		patterns, err := rdb.PubSubNumPat(context.Background()).Result()
		if err != nil {
			s.t.Error(err)
		}
		n += patterns
		if redisconn.IsCluster(s.Redis) {
			n += int64(len(rdb.PubSubShardChannels(context.Background(), "fw:0:*:{*}:").Val()))
		}
	})
	return n
}

// announce publishes an announcement of presence, as the scripts of it do.
func (s *system) announce(app, channel, announcement string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := redisconn.Publish(ctx, s.Redis, keys.Topic(envelope.KindPresence, app, channel), announcement)
	if b := keys.Bucket(app, channel); err == nil && redisconn.IsCluster(s.Redis) && s.Redis.Exists(ctx, b.Wildcards(envelope.KindPresence)).Val() == 1 {
		err = redisconn.Publish(ctx, s.Redis, keys.AllTopic(b, envelope.KindPresence), channel+"\n"+announcement)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}
