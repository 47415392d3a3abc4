package hub

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/telemetry"
)

// notes is an Observer that keeps what it hears, and what had been flushed by then.
type notes struct {
	written     []uint64
	flushed     func() int
	atWritten   []int
	connections int
}

func (n *notes) Written(d *envelope.Delivery, _ time.Time, connections int) {
	n.connections += connections
	n.written = append(n.written, d.ID.Sequence)
	n.atWritten = append(n.atWritten, n.flushed())
}

func (m sent) numbered(n uint64) sent { m.ID.Sequence = n; return m }

func timedNumber(n uint64) uint64 { return envelope.Number(n*envelope.TimedEvery, time.Now) }

// The observer hears of messages that tell when they were taken once all connections have been
// written to, over several calls of Broadcast.
func TestObserver(t *testing.T) {
	h := New(newInterest())
	all := crowd(t, h, "app", 3*maxFlushed)
	other := &subscriber{id: 1000}
	must(t, h.Subscribe(other, "other", "c", Options{}, none))
	n := &notes{flushed: func() int { _, flushes := work(all); return flushes }}
	h.Observe(n)

	first, second := timedNumber(1), timedNumber(2)
	broadcast(h, deliveries(message("app", "c", "1").numbered(1), message("app", "c", "2").numbered(first), message("app", "c", "3").numbered(2), message("app", "d", "4").numbered(second)))
	if want := []uint64{first, second}; !slices.Equal(n.written, want) {
		t.Errorf("written %v, want %v", n.written, want)
	}
	if want := []int{3 * maxFlushed, 3 * maxFlushed}; !slices.Equal(n.atWritten, want) {
		t.Errorf("flushes when it was said: %v, want %v", n.atWritten, want)
	}
	broadcast(h, deliveries(message("other", "c", "1").numbered(3), message("other", "nobody", "1").numbered(timedNumber(3)), message("nowhere", "c", "1").numbered(timedNumber(4))))
	if len(n.written) != 2 || n.connections != 2*3*maxFlushed {
		t.Error("messages that nobody gets were written")
	}
	if got := h.Delivered(); got != uint64(4*3*maxFlushed+1) {
		t.Errorf("%d deliveries", got)
	}
	for _, kept := range h.spare.timed[:cap(h.spare.timed)] {
		if kept.Frame != nil {
			t.Error("a frame is kept")
		}
	}
}

// measured counts with the metrics of a node.
type measured struct{ *telemetry.Metrics }

func (c measured) Written(d *envelope.Delivery, _ time.Time, _ int) {
	if at, ok := d.TakenAt(); ok {
		c.Metrics.Written(time.Since(at), true)
	}
}

// BenchmarkObserver is what metrics add to a message to one connection, and to many.
func BenchmarkObserver(b *testing.B) {
	for _, n := range []int{1, 1000} {
		for _, name := range []string{"without", "with"} {
			b.Run(fmt.Sprint(n, " ", name), func(b *testing.B) {
				h, batch := audienceOf(b, n)
				if name == "with" {
					h.Observe(measured{telemetry.NewMetrics()})
				}
				b.ReportAllocs()
				for i := uint64(1); b.Loop(); i++ {
					if name == "with" {
						batch[0].ID.Sequence = envelope.Number(i, time.Now)
					}
					broadcast(h, batch)
				}
			})
		}
	}
}
