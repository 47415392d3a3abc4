package history_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/history"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
)

// counted counts answers of publishes.
type counted struct{ ended chan publish.Result }

func (c counted) Published(r publish.Result) { c.ended <- r }
func (counted) Flush()                       {}

// BenchmarkMemory measures what 100,000 channels take that remember one message of 200 bytes
// each, or several, and what other ways to keep them would.
func BenchmarkMemory(b *testing.B) {
	const channels = 100_000
	data := `"` + strings.Repeat("x", 198) + `"`
	name := func(i int) string { return fmt.Sprintf("devices/%06d/state", i) }
	for _, each := range []int{1, 10} {
		b.Run(fmt.Sprintf("%d of 10", each), func(b *testing.B) {
			measureMemory(b, channels, `{"pattern":"**","size":10,"ttlSec":600}`, each, name, data)
		})
	}
	b.Run("1 of 1", func(b *testing.B) {
		measureMemory(b, channels, `{"pattern":"**","size":1,"ttlSec":600}`, 1, name, data)
	})
	b.Run("positions", func(b *testing.B) {
		rdb := redistest.Start(b).Client()
		p := newProcess(b, rdb, appOf(b, `{"pattern":"**","size":1,"ttlSec":600}`))
		for i := 0; i < channels; i += 1000 {
			var all []*history.Read
			for j := range 1000 {
				all = append(all, &history.Read{App: p.app, Channel: name(i + j)})
			}
			if err := p.store.Read(context.Background(), all); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(used(b, rdb)/channels, "bytes/channel")
	})
	for kind, add := range map[string]func(p redis.Pipeliner, key string, value []byte){
		"as strings": func(p redis.Pipeliner, key string, value []byte) { p.Set(context.Background(), key, value, 0) },
		"as lists":   func(p redis.Pipeliner, key string, value []byte) { p.RPush(context.Background(), key, value) },
		"as hashes": func(p redis.Pipeliner, key string, value []byte) {
			p.HSet(context.Background(), key, "position", value[:40], "message", value)
		},
		"as streams": func(p redis.Pipeliner, key string, value []byte) {
			p.XAdd(context.Background(), &redis.XAddArgs{Stream: key, Values: []any{"m", value}})
		},
	} {
		b.Run(kind, func(b *testing.B) {
			rdb := redistest.Start(b).Client()
			before := used(b, rdb)
			for i := 0; i < channels; i += 1000 {
				p := rdb.Pipeline()
				for j := range 1000 {
					add(p, keys.Bucket("app", name(i+j)).Last(name(i+j)), []byte(strings.Repeat("y", 280)))
				}
				if _, err := p.Exec(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((used(b, rdb)-before)/channels, "bytes/channel")
		})
	}
}

func measureMemory(b *testing.B, channels int, rules string, each int, name func(int) string, data string) {
	rdb := redistest.Start(b).Client()
	app := appOf(b, rules)
	app.HistoryBytes = 1 << 40
	app.Plan.MaxMessagesPerPeriod = 1 << 40
	p := newProcess(b, rdb, app)
	done := counted{make(chan publish.Result, 1000)}
	before := used(b, rdb)
	for range each {
		for i := range channels {
			if err := p.door.Submit(p.message(name(i), data), done); err != nil {
				b.Fatal(err)
			}
			if i >= 1000 {
				<-done.ended
			}
		}
		for range 1000 {
			<-done.ended
		}
	}
	b.ReportMetric((used(b, rdb)-before)/float64(channels), "bytes/channel")
}

// used is the memory that Redis uses.
func used(b *testing.B, rdb redis.UniversalClient) float64 {
	b.Helper()
	var n float64
	for line := range strings.Lines(rdb.Info(context.Background(), "memory").Val()) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			if _, err := fmt.Sscan(value, &n); err != nil {
				b.Fatal(err)
			}
		}
	}
	return n
}
