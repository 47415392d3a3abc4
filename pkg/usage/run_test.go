package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/logtest"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

// run runs r until the returned function is called, which waits for its end.
func run(t *testing.T, r *Recorder) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func TestRunFlushesAtEachTickAndAtTheEnd(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	tick := make(chan time.Time)
	r := NewRecorder(RecorderOptions{Redis: rdb, Tick: tick})
	reader := NewReader(rdb, keys, nil)
	count := func() int64 {
		var n int64
		for _, e := range read(t, reader, "app_a", Channels, nil, 10) {
			n += e.Published
		}
		return n
	}
	stop := run(t, r)
	for i := range int64(3) {
		r.Published("app_a", "c", "p", 1)
		if n := count(); n != i {
			t.Fatalf("%d messages before the tick, want %d", n, i)
		}
		tick <- time.Time{}
		redistest.Eventually(t, 5*time.Second, "a flush after the tick", func() bool { return count() == i+1 })
	}
	r.Published("app_a", "c", "p", 1)
	stop()
	if n := count(); n != 4 {
		t.Errorf("%d messages after Run has ended, want 4", n)
	}
}

// With many names the flush does not wait for the next tick.
func TestManyNamesAreFlushedEarly(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	r := NewRecorder(RecorderOptions{Redis: rdb, Tick: make(chan time.Time)})
	run(t, r)
	unflushed := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.unflushed
	}
	for i := range earlyFlush - 1 { // with the peer's, one less than it takes
		r.Published("app_a", fmt.Sprint("c", i), "", 1)
	}
	if len(r.due) != 0 || unflushed() != earlyFlush-1 {
		t.Fatalf("a flush is due with %d names", unflushed())
	}
	r.Published("app_a", "", "p", 1)
	redistest.Eventually(t, 30*time.Second, "an early flush", func() bool { return unflushed() == 0 })
}

// Names that nobody flushes do not eat the memory, of one app or of many, and
// their figures are in the sum of all.
func TestNamesWithoutEndWhileRedisIsAway(t *testing.T) {
	rdb := redistest.Start(t).Client()
	var away atomic.Bool
	away.Store(true)
	rdb.AddHook(&faults{next: func() fault {
		if away.Load() {
			return requestLost
		}
		return noFault
	}})
	r, _ := newRecorder(t, rdb)
	const apps, each = 12, MaxNames + 1000
	for app := range apps {
		for i := range each {
			r.Published(fmt.Sprint("app_", app), fmt.Sprint("c", i), "", 2)
		}
		r.Published(fmt.Sprint("app_", app), "c7", "", 2) // known, so counted, unless the memory is full
	}
	if r.Flush(context.Background()) == nil {
		t.Fatal("a flush into nowhere succeeded")
	}
	if r.unflushed != maxUnflushed {
		t.Errorf("%d names are held, want %d", r.unflushed, maxUnflushed)
	}
	away.Store(false)
	flush(t, r)
	if r.unflushed != 0 {
		t.Errorf("%d names are left", r.unflushed)
	}
	reader := NewReader(rdb, keys, nil)
	for app := range apps {
		id := fmt.Sprint("app_", app)
		page, err := reader.Top(context.Background(), id, Channels, nil, 1, "")
		if err != nil {
			t.Fatal(err)
		}
		got := read(t, reader, id, Channels, nil, MaxLimit)
		want := MaxNames
		if app >= maxUnflushed/MaxNames {
			want = 0
		}
		if sum := sumOf(append(got, page.Other)); len(got) != want || sum != (Entry{"", each + 1, 2*each + 2}) {
			t.Errorf("%s: %d names and %+v in all; want %d, and %d messages", id, len(got), sum, want, each+1)
		}
	}
}

func sumOf(entries []Entry) (sum Entry) {
	for _, e := range entries {
		sum.Published += e.Published
		sum.Bytes += e.Bytes
	}
	return sum
}

// One device makes up names without end: what Redis keeps has a bound, those who
// publish much stay, and the sum is exact, also when replies are lost.
func TestNamesWithoutEnd(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		trips, reading := 0, false
		rdb.AddHook(&faults{next: func() fault {
			trips++
			if trips%17 == 3 && !reading {
				return replyLost
			}
			return noFault
		}})
		r, _ := newRecorder(t, rdb)
		const rounds, fresh = 3, 6000
		for round := range rounds {
			for i := range 10 {
				publish(r, "app_a", fmt.Sprint("busy/", i), fmt.Sprint("busy-", i), 50+i, 3)
			}
			for i := range fresh {
				name := fmt.Sprint("new/", round, "/", i)
				r.Published("app_a", name, "anon_"+name, 7)
			}
			for r.Flush(context.Background()) != nil { // goes on where it ended
			}
		}
		reading = true
		reader := NewReader(rdb, keys, nil)
		for _, kind := range []Kind{Channels, Peers} {
			got := read(t, reader, "app_a", kind, nil, MaxLimit)
			if len(got) != MaxNames {
				t.Errorf("%s: %d names, want %d", kind, len(got), MaxNames)
			}
			for i := range 10 {
				if want := int64(rounds * (59 - i)); got[i].Published != want || got[i].Bytes != 3*want || !strings.HasPrefix(got[i].Name, "busy") {
					t.Errorf("%s: %+v at place %d, want one of %d messages", kind, got[i], i, want)
				}
			}
			page, err := reader.Top(context.Background(), "app_a", kind, compile(t, "none/*"), 1, "")
			if err != nil || page.Other != (Entry{"", rounds*fresh + 10 - MaxNames, 7 * (rounds*fresh + 10 - MaxNames)}) {
				t.Errorf("%s: all others have %+v (%v)", kind, page.Other, err)
			}
			busy := int64(rounds * 545)
			if sum := sumOf(append(got, page.Other)); sum != (Entry{"", busy + rounds*fresh, 3*busy + 7*rounds*fresh}) {
				t.Errorf("%s: %+v in all", kind, sum)
			}
			start, _ := quota.Period(thisPeriod())
			other := keys.UsageOther("app_a", periodName(start), string(kind))
			if ttl := rdb.TTL(context.Background(), other).Val(); (ttl - time.Until(quota.Expiry(start))).Abs() > time.Minute {
				t.Errorf("%s expires in %v", other, ttl)
			}
		}
	})
}

// A ranking of before there was a bound shrinks, a piece with each batch.
func TestRankingThatIsTooLargeShrinks(t *testing.T) {
	rdb := redistest.Start(t).Client()
	entries := make([]redis.Z, MaxNames+2*maxTakenOut)
	for i := range entries {
		entries[i] = redis.Z{Score: 2, Member: fmt.Sprint("c", i)}
	}
	ranking := fill(t, rdb, "app_a", Channels, entries)
	r, _ := newRecorder(t, rdb)
	for i, want := range []int64{MaxNames + maxTakenOut, MaxNames, MaxNames} {
		r.Published("app_a", "c1", "", 1)
		flush(t, r)
		if n := rdb.ZCard(context.Background(), ranking).Val(); n != want {
			t.Errorf("%d names after batch %d, want %d", n, i, want)
		}
	}
	page, err := NewReader(rdb, keys, nil).Top(context.Background(), "app_a", Channels, nil, 1, "")
	if err != nil || page.Other.Published != 2*2*maxTakenOut || page.Entries[0].Name != "c1" {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestRunLogsAnOutageOnce(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	var away atomic.Bool
	away.Store(true)
	flushes := make(chan struct{}, 100)
	rdb.AddHook(&faults{next: func() fault {
		flushes <- struct{}{}
		if away.Load() {
			return requestLost
		}
		return noFault
	}})
	log := new(logtest.Buffer)
	tick := make(chan time.Time)
	r := NewRecorder(RecorderOptions{Redis: rdb, Tick: tick, Log: slog.New(slog.NewTextHandler(log, nil))})
	stop := run(t, r)
	r.Published("app_a", "c", "p", 1)
	for range 3 {
		tick <- time.Time{}
		<-flushes
	}
	away.Store(false)
	tick <- time.Time{}
	redistest.Eventually(t, 5*time.Second, "the end of the outage in the log", func() bool {
		return strings.Contains(log.String(), "again")
	})
	stop()
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), errLost.Error()) {
		t.Errorf("want one line at the outage's beginning and one at its end:\n%s", log)
	}

	away.Store(true)
	r.Published("app_a", "c", "p", 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.Run(ctx)
	if !strings.Contains(log.String(), "are lost") {
		t.Errorf("the log does not say that the last figures are lost:\n%s", log)
	}
}

// Whoever comes second waits no longer than its context allows.
func TestFlushWhileAnotherIsUnderWay(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	rdb.AddHook(&faults{next: func() fault {
		once.Do(func() { close(begun) })
		<-release
		return noFault
	}})
	r, _ := newRecorder(t, rdb)
	r.Published("app_a", "c", "", 1)
	done := make(chan error, 1)
	go func() { done <- r.Flush(context.Background()) }()
	<-begun
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("second flush: %v, want %v", err, context.Canceled)
	}
	r.Published("app_a", "c", "p", 1) // never waits
	close(release)
	if err := <-done; err != nil {
		t.Errorf("first flush: %v", err)
	}
}

func TestPublishedDoesNotAllocateForKnownNames(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	r, _ := newRecorder(t, rdb)
	r.Published("app_a", "devices/cam-1/events", "cam-1", 100)
	if n := testing.AllocsPerRun(1000, func() { r.Published("app_a", "devices/cam-1/events", "cam-1", 100) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A name that lies in a buffer which is used again must not change under the figures.
func TestNamesAreCopied(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	r, _ := newRecorder(t, rdb)
	buffer := []byte("app_achannelpeer")
	borrowed := unsafe.String(&buffer[0], len(buffer))
	r.Published(borrowed[:5], borrowed[5:12], borrowed[12:], 10)
	copy(buffer, "XXXXXXXXXXXXXXXX")
	flush(t, r)
	for kind, want := range map[Kind]Entry{Channels: {"channel", 1, 10}, Peers: {"peer", 1, 10}} {
		if got := read(t, NewReader(rdb, keys, nil), "app_a", kind, nil, 10); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
}

func BenchmarkPublished(b *testing.B) {
	_, rdb := redistest.Embedded(b)
	channels, peers := make([]string, 1000), make([]string, 1000)
	for i := range channels {
		channels[i], peers[i] = fmt.Sprintf("devices/camera-%03d/events", i), fmt.Sprintf("camera-%03d", i)
	}
	b.Run("one goroutine", func(b *testing.B) {
		r, _ := newRecorder(b, rdb)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r.Published("app_a", channels[i%1000], peers[i%1000], 100)
		}
	})
	b.Run("all cores", func(b *testing.B) {
		r, _ := newRecorder(b, rdb)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				r.Published("app_a", channels[i%1000], peers[i%1000], 100)
			}
		})
	})
}

// A flush of 10,000 channels of 10,000 peers.
func BenchmarkFlush(b *testing.B) {
	rdb := redistest.Start(b).Client()
	r, _ := newRecorder(b, rdb)
	channels := make([]string, 10_000)
	for i := range channels {
		channels[i] = fmt.Sprintf("devices/camera-%05d/events", i)
	}
	for b.Loop() {
		for _, channel := range channels {
			r.Published("app_a", channel, channel[8:20], 100)
		}
		flush(b, r)
	}
}
