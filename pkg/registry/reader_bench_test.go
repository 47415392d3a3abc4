package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
)

// BenchmarkList is what a page of 100,000 peers takes, and reports what one takes of
// Redis's memory.
func BenchmarkList(b *testing.B) {
	const fleet = 100_000
	rdb := redistest.Start(b).Client()
	d := directory(b, "")
	app, _ := d.App("app")
	used := func() (bytes int) {
		for line := range strings.Lines(rdb.Info(b.Context(), "memory").Val()) {
			if _, err := fmt.Sscanf(line, "used_memory:%d", &bytes); err == nil {
				return bytes
			}
		}
		b.Fatal("redis does not say how much memory it uses")
		return 0
	}
	before := used()
	for i := 0; i < fleet; i += 1000 {
		p := rdb.Pipeline()
		for j := i; j < i+1000; j++ {
			id := fmt.Sprintf("device-camera-%06d", j)
			bucket := keys.Bucket("app", id)
			p.HSet(b.Context(), bucket.Peers(), id, fmt.Sprintf("42 0 1767222000123 %d 4000 inactive \n{\"firmware\":\"v3.2.1\"}", 4767221000000+j))
			p.ZAdd(b.Context(), bucket.PeerIndex(), redis.Z{Member: id})
		}
		if _, err := p.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	perPeer := float64(used()-before) / fleet
	r := NewReader(rdb, keys)
	for name, q := range map[string]Query{
		"500":        {Limit: 500},
		"10":         {Limit: 10},
		"a prefix":   {Limit: 500, Prefix: "device-camera-05"},
		"in between": {Limit: 500, After: "device-camera-050000"},
		"none such":  {Limit: 500, Online: OnlineOnly},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := r.List(b.Context(), app, q); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(perPeer, "bytes/peer")
		})
	}
}
