package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store answers each read with one message that names the channel.
type store struct {
	gate  chan struct{} // each trip takes one first
	mu    sync.Mutex
	trips [][]string       // channels
	errs  map[string]error // of the next trip's reads, by channel
}

func (s *store) Read(ctx context.Context, reads []*history.Read) (err error) {
	select {
	case <-s.gate:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var channels []string
	for _, r := range reads {
		channels = append(channels, r.Channel)
		r.Position = protocol.Position{Epoch: "E", Offset: 9}
		if r.Since != nil || r.Last > 0 {
			r.Messages = []history.Message{{Offset: 9, From: r.Channel, Data: []byte("1")}}
		}
		if r.MaxBytes > 64<<10 {
			return errors.New("a page is too large")
		}
	}
	s.trips = append(s.trips, channels)
	errs := s.errs
	s.errs = nil
	for _, r := range reads {
		r.Err = errs[r.Channel]
		err = cmp.Or(err, r.Err)
	}
	return err
}

func (s *store) wantTrips(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, channels := range s.trips {
		got = append(got, fmt.Sprint(channels))
	}
	if !slices.Equal(got, want) {
		t.Errorf("trips %q, want %q", got, want)
	}
	s.trips = nil
}

// world is a Reader that runs. done says what requests were told.
type world struct {
	*Reader
	store *store
	app   *apps.App
	done  chan string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	pattern, err := channel.Compile("log/*")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{store: &store{gate: make(chan struct{}, 100)}, done: make(chan string, 10_000)}
	w.app = &apps.App{ID: "app", History: []apps.HistoryRule{{Pattern: pattern, Size: 10, TTL: time.Hour}}}
	w.Reader = NewReader(Options{Store: w.store, Process: 7, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

// request is one that holds its page or not.
func (w *world) request(connection uint64, channelName string, last int, holds bool) *Request {
	return &Request{Connection: connection, App: w.app, Channel: channelName, Last: last, Done: func(p *Page) bool {
		w.done <- fmt.Sprintf("%d %s %d of %s%d %v", connection, p.Channel, len(p.Messages), p.Position.Epoch, p.Position.Offset, p.Err)
		return holds
	}}
}

func (w *world) want(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for range want {
		got = append(got, <-w.done)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told %q\nwant %q", got, want)
	}
}

func (w *world) let(trips int) {
	for range trips {
		w.store.gate <- struct{}{}
	}
}

// The first goes at once; those that come meanwhile share the next trip. Those that ask for
// the same share one read.
func TestReadsShareTrips(t *testing.T) {
	w := newWorld(t)
	w.Read(w.request(1, "log/a", 1, false))
	w.let(1)
	w.want(t, "1 log/a 1 of E9 <nil>")
	want := make([]string, 100)
	for i := range want {
		want[i] = fmt.Sprintf("%d log/a 1 of E9 <nil>", i)
	}
	w.events.Add(func() { // while this goes on
		for i := range want {
			w.Read(w.request(uint64(i), "log/a", 5, false))
		}
		w.Read(w.request(200, "log/a", 0, false))
		w.Read(w.request(201, "log/b", 5, false))
		w.Read(w.request(202, "elsewhere", 5, false)) // remembers nothing
	})
	w.let(1)
	w.want(t, append(want, "200 log/a 0 of E9 <nil>", "201 log/b 1 of E9 <nil>", "202 elsewhere 0 of 0 <nil>")...)
	w.store.wantTrips(t, "[log/a]", "[log/a log/a log/b]")
}

func TestTripsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.events.Add(func() {
		for i := range 600 {
			w.Read(w.request(uint64(i), fmt.Sprintf("log/%d", i), 1, false))
		}
	})
	w.let(3)
	for range 600 {
		<-w.done
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if len(w.store.trips) != 3 || len(w.store.trips[0]) != maxReads {
		t.Errorf("%d trips, the first of %d", len(w.store.trips), len(w.store.trips[0]))
	}
}

// A connection holds one page; its other channels wait, but not for a position. Other
// connections do not.
func TestOnePageAConnection(t *testing.T) {
	w := newWorld(t)
	w.Read(w.request(1, "log/a", 1, true))
	w.let(10)
	w.want(t, "1 log/a 1 of E9 <nil>")
	w.Read(w.request(1, "log/b", 1, true))
	w.Read(w.request(1, "log/c", 1, false))
	w.Read(w.request(1, "log/d", 1, false))
	w.Read(w.request(1, "log/e", 0, false))
	w.Read(w.request(2, "log/f", 1, false))
	w.want(t, "1 log/e 0 of E9 <nil>", "2 log/f 1 of E9 <nil>")
	w.Release(1, func() { w.done <- "released" })
	w.want(t, "released", "1 log/b 1 of E9 <nil>")
	w.Release(1, func() {})
	w.want(t, "1 log/c 1 of E9 <nil>", "1 log/d 1 of E9 <nil>")
	w.Read(w.request(1, "log/g", 1, false))
	w.want(t, "1 log/g 1 of E9 <nil>")
}

// Requests that Redis does not answer are told so, and can be asked again.
func TestReadAgain(t *testing.T) {
	w := newWorld(t)
	w.store.errs = map[string]error{"log/a": errors.New("away")}
	q := w.request(1, "log/a", 1, false)
	written := q.Done
	q.Done = func(p *Page) bool {
		if p.Err != nil {
			w.Again(q)
		}
		return written(p)
	}
	w.let(2)
	w.Read(q)
	w.want(t, "1 log/a 1 of E9 away", "1 log/a 1 of E9 <nil>")
}

// A channel that cannot be read is the affair of those who read it.
func TestAnErrorIsOfOneChannel(t *testing.T) {
	w := newWorld(t)
	w.store.errs = map[string]error{"log/a": errors.New("broken")}
	w.events.Add(func() {
		w.Read(w.request(1, "log/a", 1, false))
		w.Read(w.request(2, "log/b", 1, false))
		w.Read(w.request(3, "elsewhere", 1, false)) // remembers nothing
	})
	w.let(1)
	w.want(t, "1 log/a 1 of E9 broken", "2 log/b 1 of E9 <nil>", "3 elsewhere 0 of 0 <nil>")
}

// The frames of a page are made once for all who share it.
func TestPageFrames(t *testing.T) {
	p := &Page{process: 7}
	p.Channel = "c"
	p.Messages = []history.Message{
		{Offset: 4, From: "p", Data: []byte("1"), Metadata: []byte(`{"a":1}`), Connection: 3},
		{Offset: 5, From: "p", Data: []byte("2")},
	}
	p.Messages[0].ID.Process = 7
	for i, tt := range []struct {
		message            int
		metadata, replayed bool
		want               string
	}{
		{0, false, false, `{"type":"message","channel":"c","from":"p","data":1,"offset":4}`},
		{0, false, true, `{"type":"message","channel":"c","from":"p","data":1,"offset":4,"replayed":true}`},
		{0, true, false, `{"type":"message","channel":"c","from":"p","fromMetadata":{"a":1},"data":1,"offset":4}`},
		{0, true, true, `{"type":"message","channel":"c","from":"p","fromMetadata":{"a":1},"data":1,"offset":4,"replayed":true}`},
		{1, true, true, `{"type":"message","channel":"c","from":"p","data":2,"offset":5,"replayed":true}`},
	} {
		frame := p.Frame(tt.message, tt.metadata, tt.replayed)
		if got := string(frame[2:]); got != tt.want {
			t.Errorf("%d: %s\nwant %s", i, got, tt.want)
		}
		if again := p.Frame(tt.message, tt.metadata, tt.replayed); &again[0] != &frame[0] {
			t.Errorf("%d: made twice", i)
		}
	}
	if without, with := p.Frame(1, false, true), p.Frame(1, true, true); &without[0] != &with[0] {
		t.Error("a message without metadata is made twice")
	}
	if !p.IsOf(0, 3) || p.IsOf(0, 4) || p.IsOf(1, 0) {
		t.Error("whose message it is")
	}
	p.Position = protocol.Position{Epoch: "E", Offset: 9}
	if p.Begin() != 4 || p.Reached() != p.Position {
		t.Errorf("%d to %v", p.Begin(), p.Reached())
	}
	p.More = true
	if p.Reached() != (protocol.Position{Epoch: "E", Offset: 5}) {
		t.Errorf("to %v with more", p.Reached())
	}
	if p.Messages = nil; p.Begin() != 10 {
		t.Errorf("an empty page begins at %d", p.Begin())
	}
}
