package send

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// BenchmarkRemember compares what channels that remember cost with those that do not, for
// 1,000 devices that publish 200 bytes each.
func BenchmarkRemember(b *testing.B) {
	const devices = 1000
	data := []byte(fmt.Sprintf(`{"temperature":21.5,"text":"%0170d"}`, 1))
	pattern, err := channel.Compile("devices/**")
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 10, 100, 512} {
		for _, size := range []int{0, 1, 100} {
			b.Run(fmt.Sprintf("%d messages/size %d", n, size), func(b *testing.B) {
				rdb := redistest.Start(b).Client()
				from := New(rdb, rediskeys.Namespace{}, redisconn.NewHealth(slog.New(slog.DiscardHandler)))
				app := &apps.App{ID: "app", HistoryBytes: 1 << 30}
				rule := &apps.HistoryRule{Pattern: pattern, Size: size, TTL: time.Hour}
				counter := quota.Counter{Key: "fw:{app}:messages:bench", Limit: 1 << 50, ExpiresAt: time.Now().Add(time.Hour)}
				next := 0
				publish := func() {
					batch := Batch{Counter: counter, App: app}
					for range n {
						m := &envelope.Message{App: "app", Channel: fmt.Sprintf("devices/%d/events", next%devices), From: "p", Data: data}
						next++
						if size == 0 {
							batch.Messages = append(batch.Messages, from.Prepare(m))
						} else {
							batch.Messages = append(batch.Messages, from.PrepareRemembered(m, rule))
						}
					}
					if err := from.Send(context.Background(), []Batch{batch}); err != nil {
						b.Fatal(err)
					}
				}
				for range max(1, size) * devices / n {
					publish()
				}
				redisBefore, ownBefore := redistest.CPU(b, rdb), redistest.OwnCPU(b)
				for b.Loop() {
					publish()
				}
				there, here := redistest.CPU(b, rdb)-redisBefore, redistest.OwnCPU(b)-ownBefore
				b.ReportMetric(there/float64(b.N*n), "redis-cpu-µs/message")
				b.ReportMetric((there+here)/float64(b.N*n), "cpu-µs/message")
			})
		}
	}
}

// BenchmarkFloor has Redis do what it has to for the messages of BenchmarkRemember, without a
// script: read where the channels are, publish, and keep.
func BenchmarkFloor(b *testing.B) {
	const devices, n = 1000, 512
	ctx := context.Background()
	message := fmt.Sprintf("\a%032d,%0220d", 1, 2)
	for _, size := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("%d messages/size %d", n, size), func(b *testing.B) {
			rdb := redistest.Start(b).Client()
			next := 0
			publish := func() {
				p := rdb.Pipeline()
				last := make([]string, 0, n)
				for i := range n {
					last = append(last, fmt.Sprintf("fw:{app.123}:last:devices/%d/events", (next+i)%devices))
				}
				if size > 0 {
					p.MGet(ctx, last...)
				}
				for i := range n {
					p.Publish(ctx, fmt.Sprintf("fw:{app.123}:messages:devices/%d/events", (next+i)%devices), message)
					switch size {
					case 1:
						p.Set(ctx, last[i], message, redis.KeepTTL)
					case 100:
						p.Set(ctx, last[i], message[:60], redis.KeepTTL)
						p.RPush(ctx, last[i]+":list", message)
						if next/devices%12 == 0 {
							p.LTrim(ctx, last[i]+":list", -100, -1)
						}
					}
				}
				next += n
				if _, err := p.Exec(ctx); err != nil {
					b.Fatal(err)
				}
			}
			for range max(1, size) * devices / n {
				publish()
			}
			redisBefore := redistest.CPU(b, rdb)
			for b.Loop() {
				publish()
			}
			b.ReportMetric((redistest.CPU(b, rdb)-redisBefore)/float64(b.N*n), "redis-cpu-µs/message")
		})
	}
}
