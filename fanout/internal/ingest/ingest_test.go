package ingest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// numbers are the texts of first to last.
func numbers(first, last int) (all []string) {
	for n := first; n <= last; n++ {
		all = append(all, fmt.Sprint(n))
	}
	return all
}

// The peer gets no more than it may hold, and more when it has acknowledged some.
func TestMaxInFlight(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 5)
		w.i.Subscribe("ingest", 3, false)
		w.wantSent(numbers(1, 3)...)
		if lost, err := w.ack([]string{"m2"}); len(lost) > 0 || err != nil {
			t.Errorf("lost %q, %v", lost, err)
		}
		w.wantSent(numbers(1, 4)...)
		if lost, err := w.ack([]string{"m1", "m3", "m4"}); len(lost) > 0 || err != nil {
			t.Errorf("lost %q, %v", lost, err)
		}
		w.wantSent(numbers(1, 5)...)
		w.add(6, 6)
		w.wantSent(numbers(1, 6)...)
		if acked, _ := w.state(); !slices.Equal(acked, []string{"m2", "m1", "m3", "m4"}) {
			t.Errorf("acknowledged %q", acked)
		}
	})
}

// A frame says what an ingester has to know; the sender's metadata only if it was asked for.
func TestFrame(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 1)
		w.i.Subscribe("ingest", 3, false)
		w.wantSent("1")
		w.i.Subscribe("ingest", 3, true)
		w.add(2, 2)
		w.wantSent("1", "2")
		w.add(3, 3)
		w.wantSent("1", "2", "3")
		want := []string{
			`{"type":"message","channel":"devices/a","from":"device-1","data":1,"group":"ingest","publishedAt":7,"ackId":"m1","attempt":1}`,
			`{"type":"message","channel":"devices/a","from":"device-1","fromMetadata":{"n":1},"data":2,"group":"ingest","publishedAt":7,"ackId":"m2","attempt":1}`,
			`{"type":"message","channel":"devices/a","from":"device-1","data":3,"group":"ingest","publishedAt":7,"ackId":"m3","attempt":1}`,
		}
		if !slices.Equal(w.frames, want) {
			t.Errorf("the peer was sent %q, want %q", w.frames, want)
		}
		if p := w.pulls[0]; p.Consumer != "ingester#node-7" || p.Max != 3 || p.Group.Name != "ingest" || w.consume[0] != p.Consumer {
			t.Errorf("it pulls %+v as %q", p, w.consume[0])
		}
	})
}

// A message that the peer keeps for longer than its lease does not count any more.
func TestLeasesEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 4)
		w.i.Subscribe("ingest", 2, false)
		w.wantSent("1", "2")
		time.Sleep(ackTimeout - time.Millisecond)
		w.wantSent("1", "2")
		time.Sleep(time.Millisecond)
		w.wantSent("1", "2", "3", "4")
		if lost, err := w.ack([]string{"m1", "m3"}); !slices.Equal(lost, []string{"m1"}) || err != nil {
			t.Errorf("lost %q, %v; want m1, whose lease has ended", lost, err)
		}
	})
}

// A message that the peer keeps for long does not have the node keep what came after it.
func TestLeasesThatAreOver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.i.Subscribe("ingest", 2, false)
		w.add(0, 0)
		for n := 1; n <= 3*protocol.MaxInFlight; n++ {
			w.add(n, n)
			synctest.Wait()
			if lost, err := w.ack([]string{fmt.Sprint("m", n)}); len(lost) > 0 || err != nil {
				t.Fatalf("lost %q, %v", lost, err)
			}
		}
		w.i.mu.Lock()
		defer w.i.mu.Unlock()
		s := w.i.subscriptions["ingest"]
		if n := len(s.leases); n > 2*protocol.MaxInFlight+1 || s.inFlight != 1 || len(w.i.leased) != 1 {
			t.Errorf("it keeps %d leases; %d are in flight, and %d are known", n, s.inFlight, len(w.i.leased))
		}
	})
}

// Messages that are acknowledged twice, were leased to others, or never came, are lost.
func TestLost(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 3)
		w.i.Subscribe("ingest", 10, false)
		w.wantSent("1", "2", "3")
		w.lose("m2")
		lost, err := w.ack([]string{"m1", "m1", "m2", "m9"}, protocol.GroupNack{AckID: "m3", DelayMs: 5}, protocol.GroupNack{AckID: "m8"})
		if want := []string{"m1", "m2", "m9", "m8"}; !slices.Equal(lost, want) || err != nil {
			t.Errorf("lost %q, %v; want %q", lost, err, want)
		}
		w.wantSent("1", "2", "3", "3") // again, as it was refused
	})
}

// While Redis does not answer, the peer hears so, and keeps what it has.
func TestRedisIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 2)
		w.i.Subscribe("ingest", 1, false)
		w.wantSent("1")
		w.set(true)
		if _, err := w.ack([]string{"m1"}); !errors.Is(err, errAway) {
			t.Errorf("error %v, want that Redis is away", err)
		}
		w.wantSent("1")
		w.set(false)
		if lost, err := w.ack([]string{"m1"}); len(lost) > 0 || err != nil {
			t.Errorf("lost %q, %v", lost, err)
		}
		w.wantSent("1", "2")
		w.set(true)
		if _, err := w.ack([]string{"m2"}); err == nil {
			t.Error("acknowledged while Redis is away")
		}
		time.Sleep(ackTimeout) // it pulls again, in vain
		synctest.Wait()
		w.add(3, 3)
		w.set(false)
		time.Sleep(tryAgain)
		w.wantSent("1", "2", "3")
	})
}

// While Redis does not answer, a peer cannot have the node keep any number of acknowledgements,
// and the end of its connection waits for one trip with them, not for all.
func TestAcknowledgementsAreBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 1)
		w.i.Subscribe("ingest", 1, false)
		w.wantSent("1")
		w.trip = time.Second
		var answered, refused atomic.Int64
		many := slices.Repeat([]string{"m1"}, protocol.MaxGroupAcks)
		acknowledge := func() {
			w.i.Acknowledge(many, nil, func(_ []string, err error) {
				if errors.Is(err, errTooMany) {
					refused.Add(1)
				} else if errors.Is(err, errAway) {
					answered.Add(1)
				}
			})
		}
		w.set(true)
		frame := (&acknowledging{acks: many}).bytes()
		fit := maxAckBytes/frame + 1 // one is on its way to Redis
		acknowledge()
		synctest.Wait()
		for range fit + 9 {
			acknowledge()
		}
		synctest.Wait()
		if a, r := answered.Load(), refused.Load(); a != 0 || r != 10 {
			t.Errorf("%d frames are answered, and %d refused; want 0 and 10", a, r)
		}
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		w.i.mu.Lock()
		waiting := w.i.ackBytes
		w.i.mu.Unlock()
		if a := answered.Load(); a != 2 || waiting != (fit-3)*frame {
			t.Errorf("%d frames are answered, want 2; %d bytes wait, want those of %d frames", a, waiting, fit-3)
		}
		start := time.Now()
		w.connection.end(w.i)
		w.all.Close()
		// The trip under way, and one that gives back what the peer holds.
		if d := time.Since(start); answered.Load() != 3 || d != 1500*time.Millisecond {
			t.Errorf("%d frames are answered, want 3; the end took %s", answered.Load(), d)
		}
	})
}

// No message comes after an unsubscribe is answered; the peer may still acknowledge.
func TestUnsubscribe(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stick(true)
		w.add(1, 2)
		w.i.Subscribe("ingest", 2, false)
		synctest.Wait()
		over := make(chan struct{})
		if !w.i.Unsubscribe("ingest", func() { close(over) }) {
			t.Fatal("not subscribed")
		}
		if w.i.Unsubscribe("ingest", func() { t.Error("unsubscribed twice") }) {
			t.Error("still subscribed")
		}
		synctest.Wait()
		select {
		case <-over:
			t.Fatal("it ended while messages are being written")
		default:
		}
		w.stick(false)
		<-over
		w.add(3, 3)
		w.wantSent("1", "2")
		if lost, err := w.ack([]string{"m1"}); len(lost) > 0 || err != nil {
			t.Errorf("lost %q, %v", lost, err)
		}
		w.i.Subscribe("ingest", 2, false)
		w.wantSent("1", "2", "3")
	})
}

// The messages that a peer holds count against maxInFlight also after it unsubscribes and
// subscribes again, until their leases end.
func TestSubscribeAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 7)
		for range 3 {
			w.i.Subscribe("ingest", 2, false)
			w.wantSent("1", "2")
			w.i.Unsubscribe("ingest", func() {})
			synctest.Wait()
		}
		w.i.Subscribe("ingest", 3, false)
		w.wantSent("1", "2", "3")
		if lost, err := w.ack([]string{"m2"}); len(lost) > 0 || err != nil {
			t.Errorf("lost %q, %v", lost, err)
		}
		w.wantSent(numbers(1, 4)...)
		w.i.Unsubscribe("ingest", func() {})
		time.Sleep(ackTimeout)
		w.i.Subscribe("ingest", 3, false)
		w.wantSent(numbers(1, 7)...)
		if n := len(w.i.leased); n != 3 {
			t.Errorf("it keeps %d leases, want the 3 that have not ended", n)
		}
	})
}

// A connection that ends gives back the messages that it has not acknowledged.
func TestLeave(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 4)
		w.i.Subscribe("ingest", 3, false)
		w.wantSent("1", "2", "3")
		w.i.Acknowledge([]string{"m2"}, nil, func([]string, error) {})
		w.connection.end(w.i)
		w.all.Close()
		acked, nacked := w.state()
		slices.Sort(nacked)
		if !slices.Equal(acked, []string{"m2"}) || !slices.Equal(nacked, []string{"m1", "m3"}) {
			t.Errorf("acknowledged %q, and given back %q", acked, nacked)
		}
		w.i.Subscribe("ingest", 3, false)
		w.i.Acknowledge([]string{"m1"}, nil, func([]string, error) { t.Error("answered after the end") })
		w.wantSent("1", "2", "3")
	})
}

// A connection that takes nothing is sent nothing more, and holds what it was to be sent.
func TestStuckConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stick(true)
		w.add(1, 2)
		w.i.Subscribe("ingest", 1000, false)
		synctest.Wait()
		w.add(3, 2000)
		synctest.Wait()
		if n := len(w.pulls); n != 1 {
			t.Errorf("it pulled %d times, want once", n)
		}
		w.stick(false)
		w.wantSent(numbers(1, 1000)...)
		for n, p := range w.pulls {
			if p.Max > maxPull {
				t.Errorf("pull %d leases %d messages at once", n, p.Max)
			}
		}
	})
}

// A pull that waits goes by new options, and by a new document, at once.
func TestPullBeginsAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		w.i.Subscribe("ingest", 3, false)
		synctest.Wait()
		start := time.Now()
		w.i.Subscribe("ingest", 1, false)
		synctest.Wait()
		w.add(1, 2)
		w.wantSent("1")
		if _, err := w.ack([]string{"m1"}); err != nil {
			t.Fatal(err)
		}
		w.wantSent("1", "2")
		if _, err := w.ack([]string{"m2"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		app := anApp()
		app.Groups[0].AckTimeout = time.Hour
		w.connection.mu.Lock()
		w.app = app
		w.connection.mu.Unlock()
		w.i.DocumentChanged()
		synctest.Wait()
		w.add(3, 4)
		w.wantSent("1", "2", "3")
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		time.Sleep(2 * ackTimeout)
		w.wantSent("1", "2", "3") // it holds 3 for an hour
		if _, err := w.ack([]string{"m3"}); err != nil {
			t.Fatal(err)
		}
		w.wantSent("1", "2", "3", "4")
	})
}

// A maxInFlight, or a document, that changes just before a pull counts for it.
func TestChangeBeforeAPull(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 3)
		w.connection.asked = func() { w.i.Subscribe("ingest", 1, false) }
		w.i.Subscribe("ingest", 3, false)
		w.wantSent("1")
		w.connection.mu.Lock()
		w.connection.asked = func() {
			app := anApp()
			app.Groups[0].AckTimeout = time.Hour
			w.connection.mu.Lock()
			w.app = app
			w.connection.mu.Unlock()
			w.i.DocumentChanged()
		}
		w.connection.mu.Unlock()
		time.Sleep(ackTimeout)
		w.wantSent("1", "2")
		time.Sleep(2 * ackTimeout)
		w.wantSent("1", "2") // it holds 2 for an hour
	})
}

// A group that the document does not have any more has no messages.
func TestGroupIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.add(1, 2)
		w.i.Subscribe("ingest", 1, false)
		w.wantSent("1")
		w.connection.mu.Lock()
		w.app = &apps.App{ID: "app"}
		w.connection.mu.Unlock()
		if lost, err := w.ack([]string{"m1"}); !slices.Equal(lost, []string{"m1"}) || err != nil {
			t.Errorf("lost %q, %v; want m1", lost, err)
		}
		time.Sleep(2 * ackTimeout)
		w.wantSent("1")
		w.i.Unsubscribe("ingest", func() {})
	})
}
