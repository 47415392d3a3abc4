package node

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

func TestACollectionWaitsForMuchGarbage(t *testing.T) {
	for _, c := range []struct {
		name string
		live uint64
		want int
	}{
		{"nothing yet", 0, 400},
		{"a few thousand connections", 8 << 20, 200},
		{"as much as the least", leastGarbage, 100},
		{"more: as Go does it", 1 << 30, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := gcPercent(c.live); got != c.want {
				t.Errorf("gcPercent(%d) = %d, want %d", c.live, got, c.want)
			}
		})
	}
}

func TestMemoryIsGivenBackWhenItIsWorthACollection(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name      string
		heap      heapReading
		allocated uint64
		want      bool
	}{
		{"a fleet has connected and is quiet", heapReading{live: 20 * mib, objects: 38 * mib, free: 2 * mib}, 1000, true},
		{"freed, but held", heapReading{live: 20 * mib, objects: 20 * mib, free: 6 * mib}, 0, true},
		{"busy: the next collection is near", heapReading{live: 20 * mib, objects: 38 * mib}, 1 * mib, false},
		{"busy by the measure of a small heap, not of a large one", heapReading{live: 512 * mib, objects: 800 * mib}, 2 * mib, true},
		{"too little to gain", heapReading{live: 10 * mib, objects: 12 * mib, free: 2 * mib}, 0, false},
		{"too little for such a heap", heapReading{live: 512 * mib, objects: 600 * mib}, 0, false},
		{"less there than the last collection found live", heapReading{live: 20 * mib, objects: 10 * mib, free: 3 * mib}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := shouldRelease(c.heap, c.allocated); got != c.want {
				t.Errorf("shouldRelease(%+v, %d) = %v, want %v", c.heap, c.allocated, got, c.want)
			}
		})
	}
}

// garbage keeps the compiler from leaving the allocations out.
var garbage []byte

func TestTendHeapGivesGarbageBack(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	released := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); TendHeap(ctx) }()
		synctest.Wait()
		if percent := debug.SetGCPercent(-1); percent < 100 { // and no collection but TendHeap's
			t.Errorf("GOGC is %d after the first look, want at least 100", percent)
		}
		for range 32 {
			garbage = make([]byte, 1<<20)
			clear(garbage)
		}
		before := released()
		time.Sleep(heapLook) // it sees that much was allocated
		synctest.Wait()
		if now := released(); now > before+16<<20 {
			t.Errorf("%d bytes were given back while the process was busy", now-before)
		}
		time.Sleep(heapLook) // it sees that nothing was
		synctest.Wait()
		if now := released(); now < before+16<<20 {
			t.Errorf("of 32 MiB of garbage %d bytes were given back, want most", int64(now-before))
		}
		cancel()
		<-done
	})
}
