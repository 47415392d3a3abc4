package command

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
)

func newTestWaits(t *testing.T, w *world) *Waits {
	waits := NewWaits(w.store, w.rdb, slog.New(slog.DiscardHandler))
	t.Cleanup(waits.Close)
	return waits
}

// begin creates a command for whose end a request waits.
func (w *world) begin(waits *Waits, change func(*New)) (*Wait, string) {
	w.t.Helper()
	n := w.with(change)
	n.ID, n.WokenBy = w.store.NewID("app", channel), waits.Process()
	wait := waits.Begin("app", "sk_a", n.ID)
	if _, err := w.store.Create(context.Background(), n); err != nil {
		w.t.Fatal(err)
	}
	return wait, n.ID
}

// elsewhere has another process create, hand over and answer from now on: no request waits there.
func (w *world) elsewhere() {
	here := w.store
	w.store = NewStore(here.opt)
	w.store.scripts = here.scripts
	w.t.Cleanup(w.store.Finish)
}

// onBothFrom runs a test with answers that this process takes, and with those of another.
func onBothFrom(t *testing.T, test func(t *testing.T, w *world, waits *Waits)) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(map[bool]string{true: "elsewhere", false: "here"}[elsewhere], func(t *testing.T) {
			onBoth(t, func(t *testing.T, w *world) {
				waits := newTestWaits(t, w)
				if elsewhere {
					w.elsewhere()
				}
				test(t, w, waits)
			})
		})
	}
}

func TestTheEndWakes(t *testing.T) {
	onBothFrom(t, func(t *testing.T, w *world, waits *Waits) {
		w.join("a")
		// Many at once, and two for each.
		var all sync.WaitGroup
		for range 50 {
			wait, id := w.begin(waits, nil)
			second := waits.Begin("app", "sk_a", id)
			w.claim(id, false, "a")
			for _, one := range []*Wait{wait, second} {
				all.Go(func() {
					defer one.End()
					if c, err := one.Until(context.Background(), time.Minute, nil); err != nil || c.Status != Succeeded {
						t.Errorf("%+v %v", c, err)
					}
				})
			}
			w.answer(id, "a", Succeeded, "")
		}
		all.Wait()
		if n := len(waits.ofKey); n != 0 {
			t.Errorf("%d keys have waits left", n)
		}
	})
}

// A request that comes later waits as well; an end before it is no matter.
func TestWaitForWhatIsThere(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		waits := newTestWaits(t, w)
		ctx := context.Background()
		w.join("a")
		id := w.create(nil)
		w.claim(id, false, "a")
		wait := waits.Begin("app", "sk_a", id)
		defer wait.End()
		c, err := wait.Until(ctx, 0, nil)
		if err != nil || c.Status != Active {
			t.Fatalf("%+v %v", c, err)
		}
		w.answer(id, "a", Failed, "1")
		if c, err = wait.Until(ctx, time.Minute, c); err != nil || c.Status != Failed {
			t.Errorf("%+v %v", c, err)
		}
	})
}

func TestWaitsEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		waits := newTestWaits(t, w)
		w.join("a")
		wait, _ := w.begin(waits, nil)
		unknown := waits.Begin("app", "sk_a", w.store.NewID("app", channel))
		if c, err := unknown.Until(context.Background(), time.Millisecond, nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v %v", c, err)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if c, err := wait.Until(gone, time.Minute, nil); err != nil || c.Status != Waiting {
			t.Errorf("of a caller who is gone: %+v %v", c, err)
		}
		waits.Drain()
		if c, err := wait.Until(context.Background(), time.Minute, nil); err != nil || c.Status != Waiting {
			t.Errorf("of a node that drains: %+v %v", c, err)
		}
		if waits.Begin("app", "sk_a", w.store.NewID("app", channel)) != nil {
			t.Error("a node that drains has a request wait")
		}
	})
}

func TestWaitsAreBoundedPerKey(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	w := newWorld(t, rdb)
	waits := newTestWaits(t, w)
	id := w.store.NewID("app", channel)
	var all []*Wait
	for range MaxWaits {
		all = append(all, waits.Begin("app", "sk_a", id))
	}
	if waits.Begin("app", "sk_a", id) != nil {
		t.Error("one more waits")
	}
	if waits.Begin("app", "sk_b", id) == nil {
		t.Error("another key's request does not wait")
	}
	all[0].End()
	all[0].End() // twice is once
	if waits.Begin("app", "sk_a", id) == nil || waits.Begin("app", "sk_a", id) != nil {
		t.Error("the place is not given back once")
	}
}

// Redis tells all of the end that a reader would see: nothing has to be read.
func TestTheEndIsTold(t *testing.T) {
	onBothFrom(t, func(t *testing.T, w *world, waits *Waits) {
		w.join("a b")
		first := waits.Begin("app", "sk_a", w.store.NewID("app", channel))
		<-first.woken // this process hears of ends
		first.End()
		for status, data := range map[Status]string{Succeeded: "", Failed: "{\n\"why\": \"1 2\"}", Rejected: `"` + strings.Repeat("x", 1000) + `"`} {
			wait, id := w.begin(waits, nil)
			wait.data = w.with(nil).Data
			w.claim(id, false, "a b")
			w.answer(id, "a b", status, data)
			waits.look = func(context.Context, *Wait) (*Command, error) { return nil, redis.ErrPoolTimeout }
			c, err := wait.Until(context.Background(), time.Minute, nil)
			if err != nil || !reflect.DeepEqual(c, w.read(id)) {
				t.Errorf("told %+v %v, want %+v", c, err, w.read(id))
			}
			wait.End()
		}
		for _, bad := range []string{"x", "1 2\n", "1 2 3", "9 9 9\nabc", "-1 0 0\n", "1 1 1\nabc"} {
			if c, err := parseEnd(first.place, bad); err == nil {
				t.Errorf("%q is taken for %+v", bad, c)
			}
		}
	})
}

// Whatever Redis says or does not, a request sees an end within a second.
func TestWaitsLookAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		wait := &Wait{waits: &Waits{closed: make(chan struct{})}, woken: make(chan struct{}, 1)}
		wait.waits.look = func(context.Context, *Wait) (*Command, error) {
			reads++
			switch {
			case reads < 4:
				return &Command{Status: Active}, nil
			case reads < 6:
				return nil, redis.ErrPoolTimeout // Redis is away
			default:
				return &Command{Status: Expired}, nil
			}
		}
		begin := time.Now()
		c, err := wait.Until(t.Context(), 25*time.Second, nil)
		if err != nil || c.Status != Expired || time.Since(begin) != 6*time.Second {
			t.Errorf("%+v %v after %v", c, err, time.Since(begin))
		}
		wait.waits.look = func(context.Context, *Wait) (*Command, error) { return nil, redis.ErrPoolTimeout }
		if _, err := wait.Until(t.Context(), 2500*time.Millisecond, nil); !errors.Is(err, redis.ErrPoolTimeout) {
			t.Errorf("while Redis is away: %v", err)
		}
	})
}
