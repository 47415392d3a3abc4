package send

import (
	"context"
	"log/slog"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// BenchmarkPublish reports, beside the time of a batch, how long Redis is busy
// with it.
func BenchmarkPublish(b *testing.B) {
	rdb := redistest.Start(b).Client()
	log := slog.New(slog.DiscardHandler)
	from := New(rdb, rediskeys.Namespace{}, redisconn.NewHealth(log))
	in := from.keys.Bucket("app", "devices/1/events")
	rdb.SAdd(context.Background(), in.SubscriberNodes(), "node")
	rdb.HSet(context.Background(), in.Subscribers("node"), "devices/1/events", 1)
	for _, test := range []struct {
		name string
		n    int
		rest bool
	}{{"a REST request", 1, true}, {"12 REST requests", 12, true}, {"1 message", 1, false}, {"10 messages", 10, false}, {"512 messages", 512, false}} {
		b.Run(test.name, func(b *testing.B) {
			batch := Batch{Counter: quota.Counter{Key: "fw:{app}:messages:bench", Limit: 1 << 50, ExpiresAt: time.Now().Add(time.Hour)}}
			if test.rest {
				batch.Rates = []Rate{{Bucket: quota.Bucket{Key: "fw:{app}:rest:key", PerSec: 1e9, Burst: 1e9}}}
			}
			for i := range test.n {
				o := from.Prepare(&envelope.Message{App: "app", Channel: "devices/1/events", From: "p", Data: []byte(`{"temperature":21.5}`)})
				if test.rest {
					o.CountSubscribers = true
					batch.Rates[0].Messages = append(batch.Rates[0].Messages, i)
				}
				batch.Messages = append(batch.Messages, o)
			}
			before := busy(b, rdb)
			for b.Loop() {
				if err := from.Send(context.Background(), []Batch{batch}); err != nil {
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
