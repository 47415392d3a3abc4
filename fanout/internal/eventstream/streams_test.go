package eventstream

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/events"
)

const document = `{"apps":[{"id":"app","keys":[
	{"id":"sk_narrow","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["devices/**"],"actions":["presence","subscribe"]},
	{"id":"pk_live_page","channelPatterns":["public/**"],"actions":["publish"]},
	{"id":"sk_full","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**","_system/connectivity/**"],"actions":["presence","subscribe"]}]}]}`

// place is a hub and the nodes, as streams see them.
type place struct {
	mu       sync.Mutex
	peers    map[string]hub.Subscriber
	patterns map[string]hub.Subscriber
	down     error
	orders   []events.Watch
}

func (p *place) AddPeer(s hub.Subscriber, _, peer string, done func(error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers[peer] = s
	done(p.down)
	return nil
}

func (p *place) RemovePeer(_ hub.Subscriber, _, peer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.peers, peer)
}

func (p *place) SubscribePattern(s hub.Subscriber, _ string, of *channel.Pattern, _ bool, done func(error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.patterns[of.String()] = s
	done(p.down)
	return nil
}

func (p *place) UnsubscribePattern(_ hub.Subscriber, _ string, of *channel.Pattern) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.patterns, of.String())
}

func (p *place) order(_ context.Context, _ string, text []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var w events.Watch
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	p.orders = append(p.orders, w)
	return nil
}

// tell has all streams hear events of nodes.
func (p *place) tell(from string, all ...events.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.peers {
		var frames []byte
		for _, e := range all {
			data, _ := json.Marshal(e)
			frames = append(frames, protocol.AppendTextFrame(nil, protocol.AppendDirect(nil, from, nil, data))...)
		}
		s.Append(frames, 1)
	}
}

func (p *place) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.peers)+len(p.patterns) == 0
}

func opening(t *testing.T) (*Streams, *place, *apps.Store) {
	dir, err := apps.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	store := apps.NewStore(dir)
	p := &place{peers: map[string]hub.Subscriber{}, patterns: map[string]hub.Subscriber{}}
	return NewStreams(StreamsOptions{Hub: p, Apps: store, Order: p.order, Now: time.Now, Log: slog.New(slog.DiscardHandler)}), p, store
}

func keyOf(store *apps.Store, id string) *apps.Key {
	key, _ := store.Current().Key(id)
	return key
}

func all(*apps.Key) bool { return true }

// A stream renews what nodes tell, and ends after ten minutes.
func TestStreamsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, store := opening(t)
		pattern, _ := channel.Compile("devices/*")
		stream, err := s.Open(t.Context(), keyOf(store, "sk_full"), events.Request{Types: []events.Type{events.Close}, Pattern: pattern, Allowed: all})
		if err != nil {
			t.Fatal(err)
		}
		p.tell(system, events.Event{Type: events.Close, PeerID: "a", Node: "n", Address: "x"}, events.Event{Type: events.Sampled, Dropped: 3})
		p.tell("camera", events.Event{Type: events.Close, PeerID: "forged"})
		if e := <-stream; e.PeerID != "a" || e.Node != "n" || e.Address != "x" {
			t.Errorf("%+v", e)
		}
		if e := <-stream; e.Type != events.Sampled || e.Dropped != 3 {
			t.Errorf("%+v", e)
		}
		begin := time.Now()
		if e := <-stream; e.Type != events.End || e.Reason != endTimeLimit || time.Since(begin) < 9*time.Minute {
			t.Errorf("%+v after %v", e, time.Since(begin))
		}
		if e, ok := <-stream; ok {
			t.Errorf("behind the end: %+v", e)
		}
		synctest.Wait()
		if n := len(p.orders); n < 190 || p.orders[0].LeaseMs != lease.Milliseconds() || p.orders[n-1].LeaseMs != 0 || !p.empty() || len(s.open) > 0 {
			t.Errorf("%d orders, the last %+v", n, p.orders[n-1])
		}
	})
}

// A key that does not watch connectivity is not shown where peers are.
func TestStreamsOfNarrowKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, store := opening(t)
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := s.Open(ctx, keyOf(store, "sk_narrow"), events.Request{Types: events.OfPeers, Allowed: all})
		if err != nil {
			t.Fatal(err)
		}
		p.tell(system, events.Event{Type: events.Connect, PeerID: "a", Node: "n", Address: "x", UserAgent: "y", Connection: "n-1"}, events.Event{Type: events.Refusal, Key: "pk_live_page"}, events.Event{Type: events.Refusal, Key: "sk_full"})
		if e := <-stream; e.PeerID != "a" || e.Node+e.Address+e.UserAgent != "" || e.Connection != "n-1" {
			t.Errorf("%+v", e)
		}
		// HOSTILE: the id of a publishable key is enough to connect, and this key may not publish.
		if a, b := <-stream, <-stream; a.Key != "pk_l…" || b.Key != "sk_full" {
			t.Errorf("%+v %+v", a, b)
		}
		cancel() // the reader is gone
		if e, ok := <-stream; ok {
			t.Errorf("%+v", e)
		}
		synctest.Wait()
		if !p.empty() {
			t.Error("the stream hears still")
		}
	})
}

// HOSTILE: a reader that reads nothing costs what fits its queue; it is told how much it has missed, and the end.
func TestStreamsWhoseReadersAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, store := opening(t)
		stream, err := s.Open(t.Context(), keyOf(store, "sk_full"), events.Request{Types: events.OfPeers, Allowed: all})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			for range 100 {
				p.tell(system, events.Event{Type: events.Close, PeerID: "a"})
			}
			time.Sleep(time.Second)
		}
		if len(stream) != maxUnread {
			t.Errorf("%d wait", len(stream))
		}
		for range maxUnread {
			<-stream
		}
		time.Sleep(1100 * time.Millisecond)
		if e := <-stream; e.Type != events.Sampled || e.Dropped != 1000-maxUnread {
			t.Errorf("%+v", e)
		}
		for range 200 {
			p.tell(system, events.Event{Type: events.Close, PeerID: "a"})
		}
		s.Drain()
		last := events.Event{}
		for e := range stream {
			last = e
		}
		if last.Type != events.End || last.Reason != endGoingAway {
			t.Errorf("%+v", last)
		}
		if _, err := s.Open(t.Context(), keyOf(store, "sk_full"), events.Request{Allowed: all}); err != nil {
			t.Logf("a draining node: %v", err)
		}
		synctest.Wait()
	})
}

// A key has so many streams, and one that could not begin takes no place.
func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, store := opening(t)
		key := keyOf(store, "sk_full")
		p.down = errors.New("no Redis")
		if _, err := s.Open(t.Context(), key, events.Request{Types: events.OfPeers, Allowed: all}); err == nil || len(s.open) > 0 || !p.empty() {
			t.Errorf("without Redis: %v, %v", err, s.open)
		}
		p.down = nil
		ctx, cancel := context.WithCancel(t.Context())
		for range events.MaxStreams {
			if _, err := s.Open(ctx, key, events.Request{Types: events.OfPeers, Allowed: all}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Open(ctx, key, events.Request{Types: events.OfPeers, Allowed: all}); !errors.Is(err, events.ErrTooMany) {
			t.Errorf("one more: %v", err)
		}
		cancel()
		synctest.Wait()
		if len(s.open) > 0 {
			t.Errorf("%v", s.open)
		}
	})
}
