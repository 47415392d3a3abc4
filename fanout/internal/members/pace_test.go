package members

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn/redistest"
)

// paced is a tracker by a clock of the test's own, before a Redis that takes all.
type paced struct {
	*Tracker
	t       *testing.T
	clock   time.Time
	version int
	shown   map[string]string // by channel and peer, what Redis has
	lines   []string          // what it was told since the test looked
}

func newPaced(t *testing.T) *paced {
	p := &paced{t: t, shown: map[string]string{}}
	p.Tracker = NewTracker(Options{Log: slog.New(slog.DiscardHandler)})
	p.clock = p.pace.start.Add(time.Hour)
	p.Tracker.now = func() time.Time { return p.clock }
	p.up = true
	return p
}

// pass lets time pass, and Redis be told, as Run does.
func (p *paced) pass(d time.Duration) {
	p.t.Helper()
	p.clock = p.clock.Add(d)
	p.release()
	for r := p.take(); r != nil; r = p.take() {
		for _, call := range r.calls {
			p.run(call)
		}
		p.settle(r)
		r.finish(nil)
	}
}

// run does what change.lua does, for one node.
func (p *paced) run(call *changeRun) {
	reply := []any{}
	args := call.Args[3:]
	for len(args) > 0 {
		name, n := args[0].(string), args[2].(int)
		args = args[3:]
		for range n {
			kind, peer, metadata := args[0].(string), args[1].(string), args[2].(string)
			args = args[3:]
			if p.lines = append(p.lines, kind+name+"/"+peer+metadata); kind == "+" {
				p.shown[name+"/"+peer] = metadata
			} else {
				delete(p.shown, name+"/"+peer)
			}
		}
		p.version++
		reply = append(reply, fmt.Sprintf("1:%d", p.version))
	}
	call.Reply = redis.NewCmd(context.Background())
	call.Reply.SetVal(reply)
}

// join answers with the version that done got, once Redis was told.
func (p *paced) join(channel, peer, metadata string) presence.Version {
	p.t.Helper()
	var version presence.Version
	called := false
	if err := p.Join("app", channel, peer, 1, []byte(metadata), func(v presence.Version, err error) {
		if version, called = v, true; err != nil {
			p.t.Error(err)
		}
	}); err != nil {
		p.t.Fatal(err)
	}
	if p.pass(0); !called {
		p.t.Errorf("%s waits to get into %s", peer, channel)
	}
	return version
}

func (p *paced) took() int {
	n := len(p.lines)
	p.lines = nil
	return n
}

// One device in 100 channels exchanges its token 95 times a second, with other
// metadata each time: what that costs is bounded, and the last one wins.
func TestRefreshesAreBounded(t *testing.T) {
	p := newPaced(t)
	const seconds = 10
	for c := range 100 {
		p.join(fmt.Sprint(c), "cam", "0")
	}
	p.took()
	last := ""
	for i := range 95 * seconds {
		last = fmt.Sprint(i + 1)
		for c := range 100 {
			if err := p.Join("app", fmt.Sprint(c), "cam", 1, []byte(last), nil); err != nil {
				t.Fatal(err)
			}
		}
		p.pass(time.Second / 95)
	}
	if n, most := p.took(), 200+20*seconds+1; n > most || n < most/2 {
		t.Errorf("Redis was told %d changes in %d s, want about %d", n, seconds, most)
	}
	p.pass(10 * time.Second)
	for c := range 100 {
		if got := p.shown[fmt.Sprint(c)+"/cam"]; got != last {
			t.Errorf("channel %d shows %q in the end, want %q", c, got, last)
		}
	}
	if n := len(p.pace.later); n > 0 {
		t.Errorf("%d changes still wait", n)
	}
}

// A refresh now and then is shown at once, in all channels.
func TestHonestRefreshIsImmediate(t *testing.T) {
	p := newPaced(t)
	for c := range 100 {
		p.join(fmt.Sprint(c), "cam", "0")
	}
	for i := range 5 {
		p.took()
		for c := range 100 {
			p.join(fmt.Sprint(c), "cam", fmt.Sprint("new-", i))
		}
		if n := p.took(); n != 100 {
			t.Errorf("refresh %d: %d channels show it at once", i, n)
		}
		p.pass(10 * time.Second)
	}
}

// A device that subscribes and unsubscribes all the time joins and leaves once a
// second; each subscribe is answered at once, with a version at which it is there.
func TestFlappingIsBounded(t *testing.T) {
	for _, ends := range []bool{true, false} {
		p := newPaced(t)
		const seconds, perSecond = 10, 47
		for range seconds * perSecond {
			if v := p.join("c", "cam", "0"); v.Number == 0 {
				t.Fatal("a version of zero")
			}
			if _, there := p.shown["c/cam"]; !there {
				t.Fatal("the peer is not in the channel when its subscribe is answered")
			}
			p.pass(time.Second / perSecond / 2)
			p.Leave("app", "c", "cam", 1)
			p.pass(time.Second / perSecond / 2)
		}
		if n, most := p.took(), 2*(4+seconds+1); n > most || n < seconds {
			t.Errorf("Redis was told %d changes in %d s, want up to %d", n, seconds, most)
		}
		if ends {
			p.join("c", "cam", "1")
		}
		p.pass(2 * time.Second)
		if _, there := p.shown["c/cam"]; there != ends {
			t.Errorf("in the end the peer is there: %v, want %v", there, ends)
		}
		if !ends && len(p.members)+len(p.channels) > 0 {
			t.Errorf("%d members and %d channels are remembered", len(p.members), len(p.channels))
		}
	}
}

// Leaving does not wait for what a peer's new metadata waits for.
func TestLeavingDoesNotWaitForMetadata(t *testing.T) {
	p := newPaced(t)
	for c := range 100 {
		p.join(fmt.Sprint(c), "cam", "0")
	}
	for i := range 3 {
		for c := range 100 {
			p.join(fmt.Sprint(c), "cam", fmt.Sprint(i+1))
		}
	}
	if n := p.took(); n != 100+200 {
		t.Errorf("Redis was told %d changes, want the 100 joins and 200 more", n)
	}
	for c := range 100 {
		p.Leave("app", fmt.Sprint(c), "cam", 1)
	}
	p.pass(0)
	if len(p.shown) > 0 {
		t.Errorf("%d channels still have the peer", len(p.shown))
	}
	p.pass(time.Minute)
	if n := p.took(); n != 100 {
		t.Errorf("%d changes for 100 that leave", n)
	}
}

// One device does not hold up another's metadata, and all devices of an app
// together are bounded.
func TestBoundsOfPeersAndApps(t *testing.T) {
	p := newPaced(t)
	const peers = 150
	for i := range peers {
		for c := range 100 {
			p.join(fmt.Sprint(c), fmt.Sprint("cam-", i), "0")
		}
	}
	for i := range 5 {
		for c := range 100 {
			p.join(fmt.Sprint(c), "cam-0", fmt.Sprint(i+1))
		}
	}
	p.took()
	p.join("1", "cam-1", "1")
	if n := p.took(); n != 1 {
		t.Error("another device's metadata waits for the first's")
	}
	p.pass(time.Minute)
	p.took()
	for i := range peers {
		for c := range 100 {
			p.join(fmt.Sprint(c), fmt.Sprint("cam-", i), "2")
		}
	}
	if n := p.took(); n != 10_000 {
		t.Errorf("%d changes at once, want 10,000", n)
	}
	p.pass(time.Second)
	if n := p.took(); n < 990 || n > 1010 {
		t.Errorf("%d changes in the second after that, want 1,000", n)
	}
	p.pass(time.Minute)
	for who, metadata := range p.shown {
		if metadata != "2" {
			t.Fatalf("%s shows %q in the end", who, metadata)
		}
	}
}

// Full buckets are not kept.
func TestBucketsAreForgotten(t *testing.T) {
	b := newBuckets[int](memberRate)
	for i := range 100_000 {
		b.reserve(i, time.Duration(i)*time.Millisecond)
	}
	if n := len(b.full); n > 4*sweepAt {
		t.Errorf("%d buckets are kept, though at most 1,000 are not full", n)
	}
}

// What is held back comes by itself. A node that stops holds nothing back.
func TestHeldBackComesByItself(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		s.member = &rate{burst: 4, each: 100 * time.Millisecond}
		hear := s.listen()
		a, b := s.node(), s.node()
		for i := range 12 {
			a.join("c", "p", 1, fmt.Sprintf(`{"n":%d}`, i))
		}
		awaitList(t, b.redis, "c", `p{"n":11}`)
		for range 12 {
			a.leave("c", "p", 1)
			a.join("c", "p", 1, "")
		}
		a.leave("c", "p", 1)
		awaitList(t, b.redis, "c", "")
		redistest.Eventually(t, patience, "the listener has heard the last of it", func() bool {
			hear.mu.Lock()
			defer hear.mu.Unlock()
			n := len(hear.lines)
			return n >= 3 && strings.HasPrefix(hear.lines[n-1], "c: -p")
		})
		hear.mu.Lock()
		if n := len(hear.lines); n >= 38 {
			t.Errorf("37 changes were announced as %d: %q", n, hear.lines)
		}
		hear.mu.Unlock()
		for range 12 {
			a.join("c", "p", 1, "")
			a.leave("c", "p", 1)
		}
		a.stop()
		wantList(t, b.redis, "c", "")
		wantNothingLeft(t, b)
	})
}
