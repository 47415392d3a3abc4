package eventstream

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/events"
	"fleetwire/pkg/redisconn/redistest"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// published has what a Teller publishes.
type published struct {
	topics chan string
	events chan events.Event
}

// telling runs a Teller in a bubble until the test ends.
func telling(t *testing.T) (*Teller, *published) {
	p := &published{make(chan string, 10_000), make(chan events.Event, 10_000)}
	teller := NewTeller(Options{Node: "n1", Process: 7, Now: time.Now, Log: slog.New(slog.DiscardHandler), Publish: func(_ context.Context, topic string, payload []byte) error {
		d := envelope.Delivery{Kind: envelope.KindPeer}
		if err := d.Decode(payload); err != nil {
			t.Errorf("what is published: %v", err)
		}
		var e events.Event
		if err := json.Unmarshal(d.Data(), &e); err != nil {
			t.Errorf("%s: %v", d.Data(), err)
		}
		p.topics <- topic
		p.events <- e
		return nil
	}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); teller.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return teller, p
}

// got is what was published, once all is quiet.
func (p *published) got() (all []string) {
	synctest.Wait()
	for len(p.events) > 0 {
		e, topic := <-p.events, <-p.topics
		all = append(all, fmt.Sprintf("%s %s %s to %s", e.Type, e.PeerID, e.Reason, topic[strings.LastIndex(topic, ":")+1:]))
	}
	return all
}

func order(stream, peer string, lease time.Duration, types ...events.Type) []byte {
	text, _ := json.Marshal(events.Watch{Stream: stream, Peer: peer, Types: types, LeaseMs: lease.Milliseconds()})
	return text
}

func because(reason string) func() events.Event {
	return func() events.Event { return events.Event{Reason: reason} }
}

// A Teller tells those who watch what they watch, and of their app alone.
func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		teller, p := telling(t)
		unseen := func() events.Event { t.Error("an event is built that nobody watches"); return events.Event{} }
		teller.Tell("app", "a", events.Connect, unseen)
		if teller.Watched() {
			t.Error("something is watched")
		}
		teller.Watch("app", order("all", "", time.Minute, events.Connect, events.Close))
		teller.Watch("app", order("one", "a", time.Minute, events.Connect, events.Frame))
		teller.Watch("other", order("other", "", time.Minute, events.Connect, events.Close))
		if !teller.Frames().Load() {
			t.Error("frames are not watched")
		}
		teller.Tell("app", "a", events.Connect, because("1"))
		teller.Tell("app", "b", events.Connect, because("2"))
		teller.Tell("app", "b", events.Close, because("3"))
		teller.Tell("app", "b", events.Error, unseen)
		teller.Tell("third", "b", events.Connect, unseen)
		teller.In("app", "b", 1, []byte("x"))
		teller.Out("app", "a", 71, append(protocol.AppendTextFrame(nil, []byte(`{"a":1}`)), protocol.AppendTextFrame(nil, []byte(strings.Repeat("y", 300)))...))
		got := p.got()
		slices.Sort(got[:2])
		want := []string{"connect a 1 to all", "connect a 1 to one", "connect b 2 to all", "close b 3 to all", "frame a  to one", "frame a  to one"}
		if !slices.Equal(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
		teller.Watch("app", order("one", "", 0))
		if teller.Frames().Load() {
			t.Error("frames are watched still")
		}
		teller.Watch("app", []byte("no JSON"))
	})
}

// A lease that is not renewed ends, and with the last one everything costs nothing again.
func TestLeasesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		teller, p := telling(t)
		teller.Watch("app", order("renewed", "", 10*time.Second, events.Close))
		teller.Watch("app", order("forgotten", "", 10*time.Second, events.Close))
		time.Sleep(7 * time.Second)
		teller.Watch("app", order("renewed", "", 10*time.Second, events.Close))
		time.Sleep(4 * time.Second)
		teller.Tell("app", "a", events.Close, because("x"))
		if got := p.got(); !slices.Equal(got, []string{"close a x to renewed"}) {
			t.Errorf("%q", got)
		}
		time.Sleep(7 * time.Second)
		if teller.Watched() || len(teller.watches) > 0 {
			t.Error("a watch goes on without its lease")
		}
	})
}

// More than a hundred a second are left out, and counted.
func TestTellersSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		teller, p := telling(t)
		teller.Watch("app", order("s", "", time.Minute, events.Close))
		for range 250 {
			teller.Tell("app", "a", events.Close, because(""))
		}
		if got := p.got(); len(got) != events.PerSecond {
			t.Errorf("%d are told", len(got))
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		e := <-p.events
		<-p.topics
		if e.Type != events.Sampled || e.Dropped != 150 {
			t.Errorf("%+v", e)
		}
		teller.Tell("app", "a", events.Close, because("again"))
		if got := p.got(); !slices.Equal(got, []string{"close a again to s"}) {
			t.Errorf("a second later: %q", got)
		}
	})
}

// HOSTILE: bytes that are no frames are not read beyond their end.
func TestBodies(t *testing.T) {
	for _, sent := range []string{"", "\x81", "\x81\x05abc", "\x81\x7e\x00", "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "\x88\x02\x03\xe8"} {
		for body := range bodies([]byte(sent)) {
			t.Errorf("%q has the body %q", sent, body)
		}
	}
}

// While nothing is watched, telling allocates nothing.
func TestTellingNobodyIsFree(t *testing.T) {
	teller := NewTeller(Options{})
	if n := testing.AllocsPerRun(100, func() {
		teller.Tell("app", "a", events.Close, func() events.Event { return events.Event{} })
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
