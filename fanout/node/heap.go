package node

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	heapLook = time.Second
	// leastGarbage is how much garbage a collection waits for. With the little live
	// memory of a few thousand connections Go would run one many times a second, and
	// it is in those that the slowest messages are. More than this gains little, and
	// what a fleet leaves in memory that it connects into gets holes.
	leastGarbage = 16 << 20
	// goHeapMinimum is the heap below which Go does not collect at GOGC=100; it grows with GOGC.
	goHeapMinimum = 4 << 20
	// leastReleased is what it takes at least, in bytes, to give memory back.
	leastReleased = 4 << 20
	// longUntilNext: a collection that would come only after this is not waited for.
	longUntilNext = time.Minute
)

// TendHeap keeps this process's memory in step with its work until ctx ends. While
// there is much to do, a collection waits for 16 MiB of garbage, or as much as there
// is live memory if that is more; GOGC in the environment says otherwise. When there
// is little to do, what is garbage or unused goes back to the system, which Go by
// itself does late and in part: a fleet that has connected leaves as much garbage
// as it takes memory.
func TendHeap(ctx context.Context) {
	t := heapTender{paced: os.Getenv("GOGC") == "", percent: 100}
	look := time.NewTicker(heapLook)
	defer look.Stop()
	for {
		t.tend(readHeap())
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// heapReading is what the runtime says of the heap, in bytes.
type heapReading struct {
	allocated uint64 // since the process began
	live      uint64 // found by the last collection
	objects   uint64 // live, and garbage that is not collected yet
	free      uint64 // held, but in no use
}

func readHeap() heapReading {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	v := func(i int) uint64 { return samples[i].Value.Uint64() }
	return heapReading{allocated: v(0), live: v(1), objects: v(2), free: v(3)}
}

type heapTender struct {
	paced     bool // GOGC is ours to say
	percent   int  // GOGC in force
	allocated uint64
}

func (t *heapTender) tend(h heapReading) {
	allocated := h.allocated - t.allocated // since the last look
	t.allocated = h.allocated
	if percent := gcPercent(h.live); t.paced && percent != t.percent {
		t.percent = percent
		debug.SetGCPercent(percent)
	}
	if shouldRelease(h, allocated) {
		debug.FreeOSMemory()
	}
}

// gcPercent is the GOGC with which a collection comes after max(live, leastGarbage)
// bytes of garbage.
func gcPercent(live uint64) int {
	return int(max(100, leastGarbage*100/max(live, goHeapMinimum)))
}

// shouldRelease says whether the collection that giving memory back takes is worth
// it: there is something to give back, and the next collection is far away.
func shouldRelease(h heapReading, allocated uint64) bool {
	quiet := allocated*uint64(longUntilNext/heapLook) < max(h.live, leastGarbage)
	reclaimable := h.free + h.objects - min(h.objects, h.live)
	return quiet && reclaimable > max(leastReleased, h.live/4)
}
