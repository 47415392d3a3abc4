package command

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

// BenchmarkScripts reports what each step of a command to one device that answers it costs
// Redis, in µs of its CPU. 32 callers share round trips.
func BenchmarkScripts(b *testing.B) {
	w := newWorld(b, redistest.Start(b).Client())
	w.store.scripts = byRedisClock
	w.join("cam-1")
	ctx := context.Background()
	const callers, many = 32, 512
	ids := make([]string, many)
	steps := []struct {
		name string
		do   func(i int) error
	}{
		{"create", func(i int) error {
			created, err := w.store.Create(ctx, w.with(func(n *New) { n.WokenBy = "0123456789abcdef" }))
			ids[i] = created.ID
			return err
		}},
		{"create+claim", func(i int) error {
			_, err := w.store.Create(ctx, w.with(func(n *New) {
				n.WokenBy, n.Node, n.Peers = "0123456789abcdef", "n1", []string{"cam-1"}
				n.Admission = &Admission{Counter: quota.Counter{Key: "fw:{app}:messages:x", Limit: 1 << 40, ExpiresAt: time.Now().Add(time.Hour)}, Bucket: &quota.Bucket{Key: "fw:{app}:rest:x", PerSec: 1e6, Burst: 1e6}}
			}))
			return err
		}},
		{"claim", func(i int) error {
			return w.store.Claim(ctx, []*Claim{{App: "app", Channel: channel, ID: ids[i], Node: "n1", Peers: []Claimant{{Peer: "cam-1"}}}})
		}},
		{"read", func(i int) error { _, err := w.store.Read(ctx, "app", ids[i], ""); return err }},
		{"answer", func(i int) error {
			return w.store.Answer(ctx, []*Answer{{App: "app", Peer: "cam-1", ID: ids[i], Status: Succeeded, Data: []byte(`{"uptime":3}`)}})
		}},
		{"retain", func(int) error { w.store.Finish(); return nil }},
	}
	used := make([]float64, len(steps))
	for b.Loop() {
		for at, step := range steps {
			before := redistest.CPU(b, w.rdb)
			var all sync.WaitGroup
			for caller := range callers {
				all.Go(func() {
					for i := caller; i < many; i += callers {
						if err := step.do(i); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			used[at] += redistest.CPU(b, w.rdb) - before
		}
	}
	for at, step := range steps {
		b.ReportMetric(used[at]/float64(b.N*many), step.name+"-µs")
	}
}

// BenchmarkQueued reports what Redis keeps of each of 100,000 commands, in bytes, and how
// long it takes to list a page of them: those that wait, then the same with a peer that has
// answered.
func BenchmarkQueued(b *testing.B) {
	w := newWorld(b, redistest.Start(b).Client())
	w.store.scripts = byRedisClock
	dir, err := apps.Parse([]byte(strings.Replace(document, "1048576", "1073741824", 1)))
	if err != nil {
		b.Fatal(err)
	}
	w.store.opt.Apps = apps.NewStore(dir)
	const callers, channels, each = 32, 200, MaxQueued
	ctx := context.Background()
	ids := make([]string, channels*each)
	name := func(i int) string { return fmt.Sprintf("devices/device-%06d/commands", i/each) }
	all := func(do func(i int) error) {
		var running sync.WaitGroup
		for caller := range callers {
			running.Go(func() {
				for i := caller; i < len(ids); i += callers {
					if err := do(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		running.Wait()
		w.store.Finish()
	}
	empty := memory(b, w.rdb)
	for b.Loop() {
		all(func(i int) error {
			created, err := w.store.Create(ctx, w.with(func(n *New) { n.Channel, n.TTL = name(i), time.Hour }))
			ids[i] = created.ID
			return err
		})
		b.ReportMetric((memory(b, w.rdb)-empty)/float64(len(ids)), "B/queued")
		w.reportPage(b, name, "queued")
		all(func(i int) error {
			return w.store.Claim(ctx, []*Claim{{App: "app", Channel: name(i), ID: ids[i], Node: "n1", Peers: []Claimant{{Peer: "camera-000001"}}}})
		})
		all(func(i int) error {
			return w.store.Answer(ctx, []*Answer{{App: "app", Peer: "camera-000001", ID: ids[i], Status: Succeeded, Data: []byte(`{"uptime":3}`)}})
		})
		b.ReportMetric((memory(b, w.rdb)-empty)/float64(len(ids)), "B/ended")
		w.reportPage(b, name, "ended")
	}
}

// reportPage reports the median of how long a page takes.
func (w *world) reportPage(b *testing.B, name func(int) string, of string) {
	var times []time.Duration
	before := redistest.CPU(b, w.rdb)
	for i := range 200 {
		begin := time.Now()
		page, err := w.store.List(context.Background(), "app", name(i*MaxQueued), "", "", 100)
		if err != nil || len(page.Commands) != 100 {
			b.Fatal(len(page.Commands), err)
		}
		times = append(times, time.Since(begin))
	}
	b.ReportMetric((redistest.CPU(b, w.rdb)-before)/200/1e3, "redis-ms/page-"+of)
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2])/1e6, "ms/page-"+of)
}

func memory(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	found := usedMemory.FindStringSubmatch(rdb.Info(context.Background(), "memory").Val())
	bytes, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return bytes
}

var usedMemory = regexp.MustCompile(`used_memory:(\d+)`)
