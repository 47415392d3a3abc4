package send

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// BenchmarkMasters compares what 200 bytes of each of 1,000 devices cost one Redis with what
// they cost the masters of clusters together. One node is subscribed to all, by name or by a
// wildcard.
func BenchmarkMasters(b *testing.B) {
	for _, wildcard := range []bool{false, true} {
		for _, n := range []int{1, 10, 100, 512} {
			for _, masters := range []int{0, 1, 2, 3} {
				how := "by name"
				if wildcard {
					how = "by wildcard"
				}
				where := "one server"
				if masters > 0 {
					where = fmt.Sprintf("%d masters", masters)
				}
				b.Run(fmt.Sprintf("%s/%d messages/%s", how, n, where), func(b *testing.B) {
					benchmarkMasters(b, masters, n, wildcard)
				})
			}
		}
	}
}

func benchmarkMasters(b *testing.B, masters, n int, wildcard bool) {
	const devices = 1000
	data := []byte(fmt.Sprintf(`{"temperature":21.5,"text":"%0170d"}`, 1))
	ctx := context.Background()
	var rdb redis.UniversalClient
	var all []*redis.Client
	if masters == 0 {
		one := redistest.Start(b).Client()
		rdb, all = one, []*redis.Client{one}
	} else {
		c := redistest.StartClusterOf(b, masters, 0)
		for _, s := range c.Nodes {
			all = append(all, s.Client())
		}
		rdb = redistest.Patient(c.Client())
	}
	from := New(rdb, rediskeys.Namespace{}, redisconn.NewHealth(slog.New(slog.DiscardHandler)))
	var names, topics []string
	for i := range devices {
		names = append(names, fmt.Sprintf("devices/%d/events", i))
		topics = append(topics, from.keys.Topic(rediskeys.Messages, "app", names[i]))
	}
	hear(ctx, b, rdb, all, from.keys, topics, wildcard)
	batch := Batch{Counter: quota.Counter{Key: "fw:{app}:messages:bench", Limit: 1 << 50, ExpiresAt: time.Now().Add(time.Hour)}}
	next := 0
	publish := func() {
		batch.Messages = batch.Messages[:0]
		for range n {
			batch.Messages = append(batch.Messages, from.Prepare(&envelope.Message{App: "app", Channel: names[next%devices], From: "p", Data: data}))
			next++
		}
		if err := from.Send(ctx, []Batch{batch}); err != nil {
			b.Fatal(err)
		}
	}
	for range 100 {
		publish()
	}
	cpu := func() (us []float64) {
		for _, one := range all {
			us = append(us, redistest.CPU(b, one))
		}
		return us
	}
	before := cpu()
	for b.Loop() {
		publish()
	}
	total, most := 0.0, 0.0 // that of the app's master: it also admits
	for i, us := range cpu() {
		used := (us - before[i]) / float64(b.N*n)
		total, most = total+used, max(most, used)
	}
	b.ReportMetric(total, "redis-cpu-µs/message")
	b.ReportMetric(most, "busiest-cpu-µs/message")
}

// hear subscribes as a node does, over one connection to each master, and drops what comes.
func hear(ctx context.Context, b *testing.B, rdb redis.UniversalClient, all []*redis.Client, keys rediskeys.Namespace, topics []string, wildcard bool) {
	drop := func(sub *redis.PubSub, want int) {
		b.Cleanup(func() { _ = sub.Close() })
		for range want {
			if _, err := sub.Receive(ctx); err != nil {
				b.Fatal(err)
			}
		}
		go func() {
			for {
				if _, err := sub.Receive(ctx); err != nil {
					return
				}
			}
		}()
	}
	if !redisconn.IsCluster(rdb) {
		if wildcard {
			drop(all[0].PSubscribe(ctx, keys.Glob(rediskeys.Messages, "app", "devices/*")), 1)
		} else {
			drop(all[0].Subscribe(ctx, topics...), len(topics))
		}
		return
	}
	if wildcard {
		topics = nil
		for bucket := range keys.Buckets("app") {
			topics = append(topics, keys.AllTopic(bucket, rediskeys.Messages))
			if err := rdb.Set(ctx, bucket.Wildcards(rediskeys.Messages), 1, 0).Err(); err != nil {
				b.Fatal(err)
			}
		}
	}
	cluster := rdb.(*redis.ClusterClient)
	of := map[string][]string{}
	for _, topic := range topics {
		node, err := cluster.MasterForKey(ctx, topic)
		if err != nil {
			b.Fatal(err)
		}
		of[node.Options().Addr] = append(of[node.Options().Addr], topic)
	}
	for _, one := range all {
		mine := of[one.Options().Addr]
		if len(mine) == 0 {
			continue
		}
		sub := one.SSubscribe(ctx, mine[0])
		for _, topic := range mine[1:] {
			if err := sub.SSubscribe(ctx, topic); err != nil {
				b.Fatal(err)
			}
		}
		drop(sub, len(mine))
	}
}
