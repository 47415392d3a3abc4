package broker

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// BenchmarkPublish reports, beside the time of a batch, how long Redis is busy
// with it.
func BenchmarkPublish(b *testing.B) {
	rdb := redistest.Start(b).Client()
	log := slog.New(slog.DiscardHandler)
	from := New(Options{Redis: rdb, Health: redisconn.NewHealth(log)})
	for _, n := range []int{1, 10, 512} {
		b.Run(fmt.Sprint(n, " messages"), func(b *testing.B) {
			counter := quota.Counter{Key: "fw:{app}:messages:bench", Limit: -1, ExpiresAt: time.Now().Add(time.Hour)}
			batch := Batch{Counter: counter}
			for range n {
				batch.Messages = append(batch.Messages, from.Prepare(&Message{App: "app", Channel: "devices/1/events", From: "p", Data: []byte(`{"temperature":21.5}`)}))
			}
			before := busy(b, rdb)
			for b.Loop() {
				if err := from.Publish(context.Background(), []Batch{batch}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((busy(b, rdb)-before)/float64(b.N), "redis-µs/op")
		})
	}
}

var evalshaUsec = regexp.MustCompile(`cmdstat_evalsha:calls=\d+,usec=(\d+)`)

func busy(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	found := evalshaUsec.FindStringSubmatch(rdb.Info(context.Background(), "commandstats").Val())
	if found == nil {
		return 0
	}
	usec, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return usec
}
