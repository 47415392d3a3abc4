package command

import (
	"context"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

func BenchmarkZZ(b *testing.B) {
	w := newWorld(b, redistest.Start(b).Client())
	ctx := context.Background()
	w.store.scripts = byRedisClock
	w.join("cam-1")
	id := w.create(nil)
	p, _ := placeOf(w.keys, "app", id)
	pre := clockLua + deadline.Lua + stateLua
	for name, text := range map[string]string{"0empty": "return 1", "1clock": clockLua + "return 1", "2state": pre + "return {ended}", "3load": pre + "local c = command(ARGV[3]) return {ended}",
		"4loadsave":  pre + "local c = command(ARGV[3]) c.changed = true save(c) return {ended}",
		"5zadd10":    clockLua + "for i=1,10 do redis.call('ZADD', KEYS[1]..'zz', now, ARGV[3]) end return 1",
		"6exists10":  clockLua + "for i=1,10 do redis.call('EXISTS', KEYS[1]..'zz') end return 1",
		"7pexpire10": clockLua + "for i=1,10 do redis.call('PEXPIRE', KEYS[1]..ARGV[3], 100000000+i) end return 1",
		"8publish10": clockLua + "for i=1,10 do redis.call('PUBLISH', KEYS[1]..ARGV[3], ARGV[1]) end return 1",
		"9hget10":    clockLua + "for i=1,10 do redis.call('HGET', KEYS[1]..ARGV[3], 'payload') end return 1",
		"9zaddnew":   clockLua + "for i=1,10 do redis.call('ZADD', KEYS[1]..'zx', now, ARGV[3]) redis.call('ZREM', KEYS[1]..'zx', ARGV[3]) end return 1",
		"9hset10":    clockLua + "for i=1,10 do redis.call('HSET', KEYS[1]..ARGV[3], 'zz', 'waiting 1767222000123 1767222000123 2000 0 0 0 0 0 0 0 0 0 0') end return 1",
	} {
		s := redis.NewScript(text)
		b.Run(name, func(b *testing.B) {
			var used float64
			const many, callers = 512, 32
			for b.Loop() {
				before := busy(b, w.rdb)
				var all sync.WaitGroup
				for range callers {
					all.Go(func() {
						for range many / callers {
							call := w.store.call(s, p.bucket, p.local, "x", "y")
							_ = redisconn.Exec(ctx, w.rdb, []*redisconn.Call{call})
						}
					})
				}
				all.Wait()
				used += busy(b, w.rdb) - before
			}
			b.ReportMetric(used/float64(b.N*many), "redis-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}
