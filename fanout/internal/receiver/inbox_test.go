package receiver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"fleetwire/pkg/envelope"
)

// turn is one call of Deliver.
type round struct {
	app   string
	first uint64 // message at the head of the batch
	batch int    // messages
}

// post puts a message into the inbox, with a number that is unique in the test.
func post(t testing.TB, in *inbox, app string, number uint64) {
	t.Helper()
	if err := in.add(envelope.Delivery{App: app, ID: envelope.ID{Sequence: number}, Frame: []byte("frame")}); err != nil {
		t.Fatal(err)
	}
}

// drain delivers until nothing is left, and returns the turns that this took.
func (in *inbox) drain(deliver Deliver) (rounds []round) {
	for b := in.take(); b != nil; b = in.take() {
		rest := b.batch[b.done:]
		rounds = append(rounds, round{rest[0].App, rest[0].ID.Sequence, len(rest)})
		in.finish(b, b.deliver(deliver))
	}
	return rounds
}

func all(batch []envelope.Delivery) int { return len(batch) }

// A node that does not keep up must not fill its memory with what it has yet to
// deliver.
func TestInboxIsBounded(t *testing.T) {
	in := newInbox()
	frame := make([]byte, 1<<20) // shared, so that the test itself stays small
	var sequence uint64
	add := func() error {
		sequence++
		return in.add(envelope.Delivery{App: fmt.Sprint("app", sequence%2), ID: envelope.ID{Sequence: sequence}, Frame: frame})
	}
	for range maxInboxBytes >> 20 {
		if err := add(); err != nil {
			t.Fatalf("message %d: %v", sequence, err)
		}
	}
	if err := add(); !errors.Is(err, errInboxFull) {
		t.Errorf("message past the bound: %v", err)
	}
	// Messages that are being delivered count until they are finished.
	b := in.take()
	if err := add(); !errors.Is(err, errInboxFull) {
		t.Errorf("message past the bound, while others are being delivered: %v", err)
	}
	in.finish(b, b.deliver(func([]envelope.Delivery) int { return 1 }))
	if err := add(); err != nil {
		t.Errorf("there is room for one more, but: %v", err)
	}
	in.drain(all)
	if in.bytes != 0 || len(in.apps) != 0 {
		t.Errorf("%d bytes of %d apps are left in an inbox that is empty", in.bytes, len(in.apps))
	}
}

// One app's messages wait for one turn of each other app, however many messages the
// others have, and however often one of them comes back with the same.
func TestAppsTakeTurns(t *testing.T) {
	for _, tt := range []struct {
		name     string
		finished func(call int) int // by a call for the busy app
	}{
		{"a message each turn", func(int) int { return 1 }},
		{"a message in three turns", func(call int) int { return map[bool]int{true: 1}[call%3 == 2] }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newInbox()
			for i := range uint64(100) {
				post(t, in, "busy", 1+i)
			}
			calls := 0
			rounds := in.drain(func(batch []envelope.Delivery) int {
				if batch[0].App != "busy" {
					return len(batch)
				}
				if calls++; calls == 10 || calls == 20 {
					post(t, in, "quiet", uint64(1000+calls)) // comes meanwhile
					post(t, in, "quiet", uint64(1001+calls))
				}
				if calls == 20 {
					post(t, in, "third", 2000)
				}
				return tt.finished(calls - 1)
			})
			var others []int // which turns others had
			for i, round := range rounds {
				if round.app != "busy" {
					others = append(others, i)
				}
			}
			if want := []int{10, 21, 22}; !slices.Equal(others, want) {
				t.Errorf("the other apps had turns %v, want %v", others, want)
			}
			if rounds[10] != (round{"quiet", 1010, 2}) || rounds[22].app != "third" {
				t.Errorf("the other apps' turns were %v and %v", rounds[10], rounds[22])
			}
		})
	}
}

// Messages that come while an app's batch is delivered are in its next batch.
func TestBatchStaysUntilFinished(t *testing.T) {
	in := newInbox()
	for i := range uint64(3) {
		post(t, in, "app", 1+i)
	}
	rounds := in.drain(func(batch []envelope.Delivery) int {
		if number := batch[0].ID.Sequence; number <= 3 {
			post(t, in, "app", 10+number)
		}
		return 1
	})
	want := []round{{"app", 1, 3}, {"app", 2, 2}, {"app", 3, 1}, {"app", 11, 3}, {"app", 12, 2}, {"app", 13, 1}}
	if !slices.Equal(rounds, want) {
		t.Errorf("turns %v, want %v", rounds, want)
	}
}

// Whatever comes when, and however much of it each turn finishes: each app's
// messages are delivered in order, each once, never mixed with another's.
func TestNothingIsLostBetweenTurns(t *testing.T) {
	const apps, each = 7, 2000
	in := newInbox()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	next := map[string]uint64{}
	left := apps * each
	var ended sync.WaitGroup
	ended.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		in.run(ctx, func(batch []envelope.Delivery) int {
			n := random.IntN(len(batch) + 1)
			for _, d := range batch[:n] {
				if d.App != batch[0].App || d.Publisher != next[d.App] {
					t.Errorf("message %d of %s in a batch of %s, want message %d", d.Publisher, d.App, batch[0].App, next[d.App])
					cancel()
				}
				next[d.App]++
			}
			if left -= n; left == 0 {
				cancel()
			}
			return n
		})
	})
	random := rand.New(rand.NewPCG(3, 4))
	var counts [apps]uint64
	for sent := uint64(0); sent < apps*each; {
		app := random.IntN(apps)
		for range min(uint64(1+random.IntN(50)), each-counts[app]) {
			sent++
			if err := in.add(envelope.Delivery{App: fmt.Sprint("app", app), ID: envelope.ID{Sequence: sent}, Publisher: counts[app], Frame: []byte("frame")}); err != nil {
				t.Error(err)
			}
			counts[app]++
		}
	}
	ended.Wait()
	if left != 0 {
		t.Errorf("%d messages were not delivered", left)
	}
}

// The end of a node does not wait for what it has yet to deliver.
func TestInboxEndsInBetween(t *testing.T) {
	in := newInbox()
	post(t, in, "app", 1)
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	in.run(ctx, func([]envelope.Delivery) int {
		if calls++; calls == 5 {
			cancel()
		}
		return 0
	})
	if calls != 5 {
		t.Errorf("%d turns, want 5", calls)
	}
}

// Memory of what has been delivered must not be kept by the inbox.
func TestInboxLetsGo(t *testing.T) {
	in := newInbox()
	var batches [][]envelope.Delivery
	post(t, in, "app", 1)
	in.drain(func(batch []envelope.Delivery) int {
		batches = append(batches, batch)
		if len(batches) == 1 {
			// Those that come meanwhile come in one batch.
			for i := range uint64(3) {
				post(t, in, "app", 2+i)
			}
		}
		return len(batch)
	})
	if len(batches) != 2 || len(batches[1]) != 3 {
		t.Fatalf("%d batches, the last of %d messages; want 2, the last of 3", len(batches), len(batches[len(batches)-1]))
	}
	for _, batch := range batches {
		for _, d := range batch {
			if d.Frame != nil {
				t.Error("a frame is kept after its delivery")
			}
		}
	}
	// Nor room for many.
	for i := range uint64(maxSpare + 1) {
		post(t, in, "app", 100+i)
	}
	in.drain(all)
	if b := in.spare; cap(b.batch) > maxSpare || cap(b.arrived) > maxSpare {
		t.Errorf("an empty backlog keeps room for %d and %d messages, want at most %d", cap(b.batch), cap(b.arrived), maxSpare)
	}
}

// A message that comes alone takes nothing from the heap.
func TestInboxAllocates(t *testing.T) {
	in := newInbox()
	number := uint64(0)
	d := envelope.Delivery{App: "app", Frame: []byte("frame")}
	one := func() {
		number++
		d.ID.Sequence = number
		_ = in.add(d)
		b := in.take()
		in.finish(b, b.deliver(all))
	}
	one()
	one()
	if n := testing.AllocsPerRun(100, one); n > 0 {
		t.Errorf("a message allocates %v times, want 0", n)
	}
}

func BenchmarkInbox(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			in := newInbox()
			ctx, cancel := context.WithCancel(b.Context())
			delivered := make(chan struct{})
			left := n
			var ended sync.WaitGroup
			ended.Go(func() {
				in.run(ctx, func(batch []envelope.Delivery) int {
					if left -= len(batch); left == 0 {
						left = n
						delivered <- struct{}{}
					}
					return len(batch)
				})
			})
			d := envelope.Delivery{App: "app", Frame: []byte("frame")}
			b.ReportAllocs()
			for b.Loop() {
				for range n {
					d.ID.Sequence++
					_ = in.add(d)
				}
				<-delivered
			}
			cancel()
			ended.Wait()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/message")
		})
	}
}
