package commands

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/command"
	"fleetwire/pkg/redisconn/redistest"
)

const reconnectApps = `{"apps":[{"id":"app","keys":[{"id":"sk_a","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}]}]}`

// node is a Dispatcher on a Redis, that runs until the test ends.
func node(t *testing.T, store *command.Store, identity string) *world {
	w := &world{t: t, hub: hub.New(noInterest{}), start: time.Now()}
	w.d = NewDispatcher(Options{Store: store, Subscribers: w.hub, Ticks: w.ticks, Log: slog.New(slog.DiscardHandler)})
	w.hub.Commands(w.d.Deliver)
	w.d.SetIdentity(identity)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.d.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return w
}

// Devices connect to two nodes, again and again, until the TTLs of what waits for them are over.
// Redis's records tell what was handed over, and when: nothing after its TTL, nothing twice, or
// only as often as a device that confirms was handed it. The order in which devices come does
// not matter.
func TestReconnectsAroundTheEndOfTTLs(t *testing.T) {
	const reconnects, devices, each = 10_000, 40, 3
	directory, err := apps.Parse([]byte(reconnectApps))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := directory.Key("sk_a")
	rdb := redistest.Start(t).Client()
	store := command.NewStore(command.Options{Redis: rdb, Apps: apps.NewStore(directory), Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(store.Finish)
	nodes := []*world{node(t, store, "n1"), node(t, store, "n2")}
	var made sync.Mutex // devices are made one after the other
	var done atomic.Int64
	for done.Load() < reconnects {
		var ids []string
		for i := range each {
			ttl := time.Duration(20+10*i) * time.Millisecond
			created, err := store.Create(t.Context(), command.New{Key: key, Channel: "c", From: "server", Data: []byte("1"), TTL: ttl, Timeout: time.Minute, Expect: devices})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, created.ID)
			for _, w := range nodes {
				w.deliver(delivery("c", created.ID, ttl))
			}
		}
		got := make([]map[string]int, devices) // of each device: how often it got each command
		var all sync.WaitGroup
		for peer := range devices {
			got[peer] = map[string]int{}
			all.Go(func() {
				for at := peer; waits(t, store); at++ {
					made.Lock()
					d := nodes[at%len(nodes)].device(fmt.Sprint("p", peer), confirms(peer))
					made.Unlock()
					<-d.enters()
					d.leaves()
					d.mu.Lock()
					for _, id := range d.got {
						got[peer][id]++
					}
					d.mu.Unlock()
					done.Add(1)
				}
			})
		}
		all.Wait()
		for _, id := range ids {
			checkHanded(t, store, id, got)
		}
		if t.Failed() {
			return
		}
	}
}

// confirms says whether a device does: every fourth.
func confirms(peer int) bool { return peer%4 == 0 }

func waits(t *testing.T, store *command.Store) bool {
	wait, err := store.AnyWait(t.Context(), []command.Queue{{App: "app", Channel: "c"}})
	if err != nil {
		t.Error(err)
		return false
	}
	return wait[0]
}

// checkHanded compares what devices got of a command with what Redis has of it.
func checkHanded(t *testing.T, store *command.Store, id string, got []map[string]int) {
	t.Helper()
	c, err := store.Read(t.Context(), "app", id, "")
	if err != nil {
		t.Fatal(err)
	}
	page, err := store.Answers(t.Context(), "app", id, "", "", 500)
	if err != nil {
		t.Fatal(err)
	}
	handed := map[string]command.PeerAnswer{}
	for _, a := range page.Answers {
		handed[a.Peer] = a
		if a.SentAt < c.CreatedAt || a.SentAt >= c.ExpiresAt {
			t.Errorf("%s was handed over %d ms after its TTL", id, a.SentAt-c.ExpiresAt)
		}
	}
	if c.Status == command.Waiting || (c.Status == command.Expired) != (len(handed) == 0) {
		t.Errorf("%s is %s, and %d peers have it", id, c.Status, len(handed))
	}
	for peer := range got {
		a, n := handed[fmt.Sprint("p", peer)], got[peer][id]
		if n > a.Attempt || a.Attempt > command.MaxAttempts || a.Attempt > 1 && !confirms(peer) {
			t.Errorf("%s came to p%d %d times, and Redis has %d attempts (it confirms: %v)", id, peer, n, a.Attempt, confirms(peer))
		}
	}
}
