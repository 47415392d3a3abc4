package batch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"fleetwire/pkg/batch"
)

// journey makes the trips of a Batcher, and can hold them up.
type journey struct {
	batch.Batcher[int]
	mu    sync.Mutex
	trips [][]int
	gate  chan error // nil: open; else each trip waits for its outcome
}

func newJourney(most int) *journey {
	j := &journey{gate: make(chan error)}
	j.Most, j.Timeout = most, time.Second
	j.Run = func(ctx context.Context, items []int) error {
		j.mu.Lock()
		j.trips = append(j.trips, slices.Clone(items))
		j.mu.Unlock()
		select {
		case err := <-j.gate:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return j
}

// do calls Do for each item, in this order, and returns where its errors arrive.
func (j *journey) do(ctx context.Context, items ...int) <-chan error {
	errs := make(chan error, len(items))
	for _, item := range items {
		go func() { errs <- j.Do(ctx, item) }()
		synctest.Wait() // so that the next comes behind it
	}
	return errs
}

// end has the trip under way end so.
func (j *journey) end(err error) {
	j.gate <- err
	synctest.Wait()
}

func (j *journey) want(t *testing.T, trips string) {
	t.Helper()
	if got := fmt.Sprint(j.trips); got != trips {
		t.Errorf("trips %s, want %s", got, trips)
	}
}

func allNil(t *testing.T, errs <-chan error, n int) {
	t.Helper()
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestFirstGoesAtOnceAndTheRestShareTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJourney(3)
		errs := j.do(t.Context(), 1, 2, 3, 4, 5)
		j.want(t, "[[1]]")
		if got := j.Waiting(); got != 4 {
			t.Errorf("%d wait, want 4", got)
		}
		j.end(nil)
		j.want(t, "[[1] [2 3 4]]")
		late := j.do(t.Context(), 6)
		j.end(nil)
		j.want(t, "[[1] [2 3 4] [5 6]]")
		j.end(nil)
		allNil(t, errs, 5)
		allNil(t, late, 1)
		again := j.do(t.Context(), 7)
		j.want(t, "[[1] [2 3 4] [5 6] [7]]")
		j.end(nil)
		allNil(t, again, 1)
	})
}

// An item that Run fails for another reason than a timeout has had its trip.
func TestErrorIsLeftToRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJourney(2)
		errs := j.do(t.Context(), 1, 2)
		j.end(errors.New("connection refused"))
		j.want(t, "[[1] [2]]")
		j.end(errors.New("connection refused"))
		allNil(t, errs, 2)
	})
}

func TestSizesBoundATrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJourney(10)
		j.Size = func(item int) int { return item }
		errs := j.do(t.Context(), 1, 4, 6, 1, 25, 9, 2)
		for range 5 {
			j.end(nil)
		}
		j.want(t, "[[1] [4 6] [1] [25] [9] [2]]")
		j.end(nil)
		allNil(t, errs, 7)
	})
}

// A caller that gives up takes part in no trip, and takes nobody along. One whose
// trip has begun hears how it ended.
func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJourney(10)
		ctx, cancel := context.WithCancel(t.Context())
		first := j.do(context.WithoutCancel(ctx), 1)
		leaves := j.do(ctx, 2)
		stays := j.do(t.Context(), 3)
		leavesToo := j.do(ctx, 4)
		cancel()
		for _, errs := range []<-chan error{leaves, leavesToo} {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want that the caller's context ended", err)
			}
		}
		j.end(nil)
		allNil(t, first, 1)
		j.want(t, "[[1] [3]]")

		ctx, cancel = context.WithCancel(t.Context())
		leads, rides := j.do(ctx, 5), j.do(ctx, 6)
		j.end(nil)
		allNil(t, stays, 1)
		j.want(t, "[[1] [3] [5 6]]")
		cancel()
		synctest.Wait()
		select {
		case err := <-rides:
			t.Errorf("the call returned before its trip was over: %v", err)
		default:
		}
		j.end(nil)
		allNil(t, leads, 1)
		allNil(t, rides, 1)
	})
}

// Those that wait behind a trip that runs into its timeout do not each wait for
// one of their own.
func TestTimeoutTurnsAwayAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJourney(2)
		errs := j.do(t.Context(), 1, 2, 3, 4, 5)
		j.end(nil)
		begin := time.Now()
		turnedAway := 0
		for range 5 {
			if err := <-errs; errors.Is(err, context.DeadlineExceeded) {
				turnedAway++
			} else if err != nil {
				t.Error(err)
			}
		}
		if turnedAway != 2 {
			t.Errorf("%d were turned away, want the 2 that no trip had room for", turnedAway)
		}
		if took := time.Since(begin); took != j.Timeout {
			t.Errorf("they waited for %v, want %v", took, j.Timeout)
		}
		j.want(t, "[[1] [2 3]]")
		again := j.do(t.Context(), 6)
		j.end(nil)
		allNil(t, again, 1)
	})
}

// A panic, or a Goexit, of a trip is its leader's. The others hear of it, and the
// next trip begins.
func TestPanicOfATrip(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("below") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJourney(2)
				run := j.Run
				j.Run = func(ctx context.Context, items []int) error {
					_ = run(ctx, items)
					if items[0] <= 2 {
						fail()
					}
					return nil
				}
				ended := make(chan any, 2)
				for item := 1; item <= 2; item++ {
					go func() {
						defer func() { ended <- recover() }()
						_ = j.Do(t.Context(), item)
						t.Error("Do returned")
					}()
					synctest.Wait()
				}
				rides, next := j.do(t.Context(), 3), j.do(t.Context(), 4)
				j.end(nil)
				j.end(nil)
				j.want(t, "[[1] [2 3] [4]]")
				for range 2 {
					if got := <-ended; name == "panic" && got != "below" {
						t.Errorf("the leader recovered %v, want the panic", got)
					}
				}
				if err := <-rides; !errors.Is(err, batch.ErrBroken) {
					t.Errorf("%v, want ErrBroken", err)
				}
				j.end(nil)
				allNil(t, next, 1)
			})
		})
	}
}

// Many callers at a time: each item goes once, in the order of its caller, and never
// are two trips under way.
func TestManyCallers(t *testing.T) {
	const callers, each = 20, 50
	var mu sync.Mutex
	last := make([]int, callers)
	b := &batch.Batcher[[2]int]{Most: 7, Timeout: time.Minute}
	b.Run = func(_ context.Context, items [][2]int) error {
		if !mu.TryLock() {
			t.Error("two trips at a time")
			return nil
		}
		defer mu.Unlock()
		if len(items) == 0 || len(items) > 7 {
			t.Errorf("a trip of %d items", len(items))
		}
		for _, item := range items {
			if last[item[0]]++; last[item[0]] != item[1] {
				t.Errorf("item %d of caller %d came as number %d", item[1], item[0], last[item[0]])
			}
		}
		return nil
	}
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := 1; i <= each; i++ {
				ctx, cancel := context.WithCancel(context.Background())
				if i%10 == 0 {
					go cancel() // it may or may not be in time
				}
				if err := b.Do(ctx, [2]int{caller, i}); err != nil {
					i-- // it took part in no trip
				}
				cancel()
			}
		})
	}
	all.Wait()
	for caller, n := range last {
		if n != each {
			t.Errorf("caller %d: %d items went, want %d", caller, n, each)
		}
	}
}

// What has been answered is not kept in memory.
func TestBatcherLetsGo(t *testing.T) {
	gate := make(chan struct{})
	b := &batch.Batcher[*[64]byte]{Most: 4, Timeout: time.Minute}
	b.Run = func(context.Context, []*[64]byte) error { <-gate; return nil }
	answered := make(chan weak.Pointer[[64]byte], 10)
	for range cap(answered) {
		go func() {
			item := new([64]byte)
			if err := b.Do(context.Background(), item); err != nil {
				t.Error(err)
			}
			answered <- weak.Make(item)
		}()
	}
	close(gate)
	for range cap(answered) {
		item := <-answered
		for deadline := time.Now().Add(10 * time.Second); item.Value() != nil; runtime.GC() {
			if time.Now().After(deadline) {
				t.Fatal("an item is still in memory")
			}
		}
	}
	runtime.KeepAlive(b)
}

func TestAlone(t *testing.T) {
	b := &batch.Batcher[int]{Most: 4, Run: func(context.Context, []int) error { return nil }}
	ctx := context.Background()
	if got := testing.AllocsPerRun(100, func() { _ = b.Do(ctx, 1) }); got != 0 {
		t.Errorf("an item that goes alone costs %v allocations", got)
	}
}
