package usage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

func TestFiguresByChannelAndPeer(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		r, log := newRecorder(t, rdb)
		publish(r, "app_a", "devices/cam-1/events", "cam-1", 3, 100)
		publish(r, "app_a", "devices/cam-2/events", "cam-2", 1, 5)
		publish(r, "app_a", "devices/cam-1/log", "cam-1", 1, 0)
		publish(r, "app_a", "", "cam-2", 5, 7) // sent to a peer
		publish(r, "app_b", "devices/cam-1/events", "server", 9, 1)
		flush(t, r)
		publish(r, "app_a", "devices/cam-2/events", "cam-2", 3, 5)
		flush(t, r)
		flush(t, r) // nothing new

		reader := NewReader(rdb, keys, nil)
		for _, tt := range []struct {
			app  string
			kind Kind
			want []Entry
		}{
			{"app_a", Channels, []Entry{{"devices/cam-2/events", 4, 20}, {"devices/cam-1/events", 3, 300}, {"devices/cam-1/log", 1, 0}}},
			{"app_a", Peers, []Entry{{"cam-2", 9, 55}, {"cam-1", 4, 300}}},
			{"app_b", Channels, []Entry{{"devices/cam-1/events", 9, 9}}},
			{"app_b", Peers, []Entry{{"server", 9, 9}}},
			{"app_c", Channels, nil},
		} {
			if got := read(t, reader, tt.app, tt.kind, nil, DefaultLimit); !slices.Equal(got, tt.want) {
				t.Errorf("%s of %s: %v, want %v", tt.kind, tt.app, got, tt.want)
			}
		}
		if log.String() != "" {
			t.Errorf("logged: %s", log)
		}
	})
}

// Whatever several recorders are told at the same time, and whichever requests
// and replies get lost on the way, the sums agree to the message and the byte.
func TestSumsAgreeWhateverGetsLost(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		for seed := range uint64(4) {
			redistest.Empty(t, rdb)
			sumsAgree(t, rdb, seed)
		}
	})
}

func sumsAgree(t *testing.T, rdb *redis.Client, seed uint64) {
	lossy := redis.NewClient(rdb.Options())
	defer lossy.Close()
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	lossy.AddHook(&faults{next: func() fault {
		mu.Lock()
		defer mu.Unlock()
		return fault(random.IntN(4)) % 3 // half of the time none
	}})

	type figure struct{ app, name string }
	model := map[Kind]map[figure]Entry{Channels: {}, Peers: {}}
	tell := func(kind Kind, app, name string, size int) {
		e := model[kind][figure{app, name}]
		model[kind][figure{app, name}] = Entry{name, e.Published + 1, e.Bytes + int64(size)}
	}
	var wg sync.WaitGroup
	for node := range uint64(3) {
		r, _ := newRecorder(t, lossy)
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, 100+node))
			for range 5 {
				for range 400 {
					app := fmt.Sprintf("app_%d", random.IntN(2))
					// Many with the same figures, and more than one batch.
					channel := fmt.Sprintf("c/%d", random.IntN(600))
					peer := fmt.Sprintf("p %d", random.IntN(20))
					size := random.IntN(1000)
					r.Published(app, channel, peer, size)
					mu.Lock()
					tell(Channels, app, channel, size)
					tell(Peers, app, peer, size)
					mu.Unlock()
				}
				_ = r.Flush(context.Background())
			}
			for r.Flush(context.Background()) != nil {
			}
			if r.unflushed != 0 || r.fresh != 0 || len(r.pending) != 0 {
				t.Errorf("after the last flush %d names are unflushed, %d fresh and %d batches pending", r.unflushed, r.fresh, len(r.pending))
			}
		})
	}
	wg.Wait()

	reader := NewReader(rdb, keys, nil)
	pages := rand.New(rand.NewPCG(seed, 2))
	for kind, figures := range model {
		for _, app := range []string{"app_0", "app_1"} {
			var want []Entry
			for f, e := range figures {
				if f.app == app {
					want = append(want, e)
				}
			}
			slices.SortFunc(want, func(a, b Entry) int {
				if a.Published != b.Published {
					return int(b.Published - a.Published)
				}
				return strings.Compare(b.Name, a.Name)
			})
			limit := 1 + pages.IntN(40)
			if got := read(t, reader, app, kind, nil, limit); !slices.Equal(got, want) {
				t.Errorf("seed %d, %s of %s in pages of %d:\n%v\nwant\n%v", seed, kind, app, limit, got, want)
			}
		}
	}
}

func TestMessagesGoToThePeriodTheyCameIn(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	_, border := quota.Period(thisPeriod())
	now := border.Add(-time.Nanosecond)
	r := NewRecorder(RecorderOptions{Redis: rdb, Now: func() time.Time { return now }})
	publish(r, "app_a", "c", "p", 2, 10)
	now = border
	publish(r, "app_a", "c", "p", 1, 10)
	now = border.Add(-time.Hour) // a clock that was put back
	publish(r, "app_a", "c", "p", 3, 10)
	flush(t, r)
	for at, want := range map[time.Time]Entry{border.Add(-1): {"c", 5, 50}, border: {"c", 1, 10}} {
		reader := NewReader(rdb, keys, func() time.Time { return at })
		for _, kind := range []Kind{Channels, Peers} {
			want := want
			if kind == Peers {
				want.Name = "p"
			}
			if got := read(t, reader, "app_a", kind, nil, 10); !slices.Equal(got, []Entry{want}) {
				t.Errorf("%s at %v: %v, want %v", kind, at, got, want)
			}
		}
	}
}

func TestEveryKeyExpires(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := context.Background()
		now := thisPeriod()
		r := NewRecorder(RecorderOptions{Redis: rdb, Now: func() time.Time { return now }})
		publish(r, "app_a", "c", "p", 1, 1)
		flush(t, r)
		found, err := rdb.Keys(ctx, "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		prefix := "fw:{app_a}:usage:" + now.UTC().Format("2006-01") + ":"
		counter := quota.Messages(keys, &apps.App{ID: "app_a"}, now)
		want := map[string]time.Duration{
			prefix + "channels":        time.Until(counter.ExpiresAt),
			prefix + "channels:bytes":  time.Until(counter.ExpiresAt),
			prefix + "peers":           time.Until(counter.ExpiresAt),
			prefix + "peers:bytes":     time.Until(counter.ExpiresAt),
			prefix + "flushed:" + r.id: time.Hour,
		}
		if len(found) != len(want) {
			t.Errorf("keys: %q", found)
		}
		for _, key := range found {
			ttl, err := rdb.TTL(ctx, key).Result()
			if err != nil || ttl <= 0 || (ttl-want[key]).Abs() > time.Minute {
				t.Errorf("%s lives for %v (%v), want %v", key, ttl, err, want[key])
			}
		}
	})
}

// A host that hangs takes the request all the same, and answers nobody.
func TestRedisThatHangsDuringAFlush(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	r, _ := newRecorder(t, rdb)
	publish(r, "app_a", "warm", "p", 1, 1)
	flush(t, r)

	server.Freeze()
	publish(r, "app_a", "c", "p", 2, 10)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	err := r.Flush(ctx)
	cancel()
	if err == nil {
		t.Error("a flush into a frozen Redis succeeded")
	}
	publish(r, "app_a", "c", "p", 1, 10) // meanwhile
	server.Thaw()
	flush(t, r)
	want := []Entry{{"c", 3, 30}, {"warm", 1, 1}}
	if got := read(t, NewReader(rdb, keys, nil), "app_a", Channels, nil, 10); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRedisThatWasRestarted(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	r, _ := newRecorder(t, rdb)
	publish(r, "app_a", "before", "p", 1, 1)
	flush(t, r)
	server.Stop()
	publish(r, "app_a", "while", "p", 2, 10)
	if r.Flush(context.Background()) == nil {
		t.Error("a flush without a Redis succeeded")
	}
	server.Restart()                           // it knows neither the data nor the script
	for r.Flush(context.Background()) != nil { // connections to the old one fail first
	}
	want := []Entry{{"while", 2, 20}}
	if got := read(t, NewReader(rdb, keys, nil), "app_a", Channels, nil, 10); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What Redis refuses of one app, because something else is at its key, holds up
// no other app, and is not lost.
func TestRefusedBatchHoldsUpItsAppAlone(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := context.Background()
		r, _ := newRecorder(t, rdb)
		start, _ := quota.Period(thisPeriod())
		foreign := keys.Usage("app_a", periodName(start), string(Channels))
		if err := rdb.Set(ctx, foreign, "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		reader := NewReader(rdb, keys, nil)
		for round := range int64(3) {
			publish(r, "app_a", "c", "p", 1, 10)
			publish(r, "app_b", "c", "p", 1, 10)
			if err := r.Flush(ctx); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Fatalf("flush: %v, want WRONGTYPE", err)
			}
			want := []Entry{{"c", round + 1, 10 * (round + 1)}}
			if got := read(t, reader, "app_b", Channels, nil, 10); !slices.Equal(got, want) {
				t.Fatalf("app_b: %v, want %v", got, want)
			}
		}
		if err := rdb.Del(ctx, foreign).Err(); err != nil {
			t.Fatal(err)
		}
		flush(t, r)
		for _, kind := range []Kind{Channels, Peers} {
			got := read(t, reader, "app_a", kind, nil, 10)
			if len(got) != 1 || got[0].Published != 3 || got[0].Bytes != 30 {
				t.Errorf("%s: %v, want 3 messages of 30 bytes", kind, got)
			}
		}
	})
}

// More apps and names than one round trip carries.
func TestManyAppsInOneFlush(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		r, _ := newRecorder(t, rdb)
		for i := range 3 * maxRoundBatches {
			publish(r, fmt.Sprintf("app_%d", i), "c", "p", 1, i)
		}
		for i := range 3*maxBatchEntries + 1 {
			publish(r, "app_0", fmt.Sprintf("c%d", i), "p", 1, 1)
		}
		flush(t, r)
		reader := NewReader(rdb, keys, nil)
		for i := range 3 * maxRoundBatches {
			got := read(t, reader, fmt.Sprintf("app_%d", i), Channels, compile(t, "c"), 10)
			if want := []Entry{{"c", 1, int64(i)}}; !slices.Equal(got, want) {
				t.Errorf("app_%d: %v, want %v", i, got, want)
			}
		}
		if got := read(t, reader, "app_0", Channels, nil, 100); len(got) != 3*maxBatchEntries+2 {
			t.Errorf("%d channels of app_0, want %d", len(got), 3*maxBatchEntries+2)
		}
	})
}
