package members

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn/redistest"
)

// large is metadata of the most that a token may have.
func large(of string) string {
	return `{"m":"` + of + strings.Repeat("x", protocol.MaxPeerMetadataBytes-8-len(of)) + `"}`
}

// crowd has peers join a channel, and waits until Redis has them.
func (n *node) crowd(channel string, peers int, metadata func(peer string) string) {
	n.t.Helper()
	done := make(chan error, peers)
	for i := range peers {
		peer := fmt.Sprintf("p%05d", i)
		if err := n.Join("app", channel, peer, uint64(i+1), []byte(metadata(peer)), func(_ presence.Version, err error) { done <- err }); err != nil {
			n.t.Fatal(err)
		}
	}
	for range peers {
		if err := <-done; err != nil {
			n.t.Fatal(err)
		}
	}
}

// sizes keeps how large the announcements are, and how many changes they have.
type sizes struct {
	bytes, changes []int
	left           int
}

func (s *system) measure(t *testing.T) (so func() sizes) {
	t.Helper()
	pubsub := s.client().PSubscribe(context.Background(), "fw:*")
	if _, err := pubsub.Receive(context.Background()); err != nil {
		t.Fatal(err)
	}
	all, ended := make(chan sizes, 1), make(chan struct{})
	all <- sizes{}
	go func() {
		defer close(ended)
		for {
			m, err := pubsub.ReceiveMessage(context.Background())
			if err != nil {
				return
			}
			a, err := presence.ParseAnnouncement([]byte(m.Payload))
			if err != nil {
				t.Errorf("%.40q: %v", m.Payload, err)
			}
			now := <-all
			now.bytes, now.changes = append(now.bytes, len(m.Payload)), append(now.changes, len(a.Changes))
			for _, c := range a.Changes {
				if c.Kind == presence.Left {
					now.left++
				}
			}
			all <- now
		}
	}()
	t.Cleanup(func() { _ = pubsub.Close(); <-ended })
	return func() sizes { now := <-all; all <- now; return now }
}

// Nothing that a crowd causes is announced in more than 1 MiB, or of more than 512
// members: joining, leaving with metadata that only Redis has, being stated anew,
// and being reaped (protocol §4.3).
func TestAnnouncementsAreBounded(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *system) {
		s.times = lasting
		peers, both := 2500, 600
		if s.server == nil { // which is slow, with the race detector above all
			peers, both = 500, 100
		}
		a, b := s.node(), s.node()
		so := s.measure(t)
		bounded := func(when string) {
			t.Helper()
			now := so()
			if most := slices.Max(now.bytes); most > 1<<20 {
				t.Errorf("%s: an announcement of %d bytes", when, most)
			}
			if most := slices.Max(now.changes); most > 512 {
				t.Errorf("%s: an announcement of %d changes", when, most)
			}
		}
		a.crowd("fleet", peers, large)
		bounded("joining")

		// The other node's peers have short metadata here, and 4 KiB in Redis.
		for i := range both {
			peer := fmt.Sprintf("p%05d", i)
			if _, err := b.tryJoin("fleet", peer, uint64(i+1), ""); err != nil {
				t.Fatal(err)
			}
			if _, err := a.tryJoin("fleet", peer, uint64(i+10001), large("again")); err != nil {
				t.Fatal(err)
			}
		}
		a.die()
		a.expires(b.redis)
		redistest.Eventually(t, patience, "those who were on the dead node alone have left", func() bool { return so().left == peers-both })
		bounded("reaping")
		for i := range both {
			b.leave("fleet", fmt.Sprintf("p%05d", i), uint64(i+1))
		}
		redistest.Eventually(t, patience, "everybody has left", func() bool { return so().left == peers })
		bounded("leaving")
		redistest.Eventually(t, patience, "nothing of the dead node is left", func() bool {
			found, err := keysLike(b.redis, "fw:*"+a.identified()+"*")
			return err == nil && len(found) == 0
		})
		wantNothingLeft(t, b)
	})
}

// What a dead node said late, while a channel is being reaped in steps, does not
// stay: the node has its identity reaped again.
func TestLateJoinIntoALargeChannel(t *testing.T) {
	s := newSystem(t)
	s.times = lasting
	ctx := context.Background()
	a, b := s.node(), s.node()
	a.crowd("c", 1000, func(string) string { return "" })
	b.join("c", "stays", 1, "")
	bucket := keys.Bucket("app", "c")
	steps, cursor := 0, "0"
	for cursor != reapedEnd {
		next, err := b.store.reapStep(ctx, a.identified(), bucket, []string{"c"}, cursor)
		if err != nil || next[0] == reapedWhole {
			t.Fatal(next, err)
		}
		cursor = next[0]
		if steps++; steps > 100 {
			t.Fatal("it does not end")
		}
	}
	if steps < 5 {
		t.Errorf("1,000 members were reaped in %d steps", steps)
	}
	wantList(t, b.redis, "c", "stays")
	if is, err := b.redis.SIsMember(ctx, bucket.Joined(a.identified()), "c").Result(); err != nil || !is {
		t.Errorf("after steps alone the channel is the node's no more (%v %v): who joins late would stay for ever", is, err)
	}
}

// Pages have everybody who was there all the time exactly once, in order, whoever
// comes and goes meanwhile, and each fits into 512 KiB.
func TestPages(t *testing.T) {
	onEachRedis(t, func(t *testing.T, s *system) {
		a := s.node()
		const peers = 1300
		a.crowd("fleet", peers, func(peer string) string {
			if peer < "p00400" {
				return large(peer)
			}
			return `{"p":"` + peer + `"}`
		})
		for _, limit := range []int{1, 7, 100, presence.MaxPage} {
			var got []string
			after, pages := "", 0
			for {
				page, err := presence.List(context.Background(), a.redis, keys, "app", "fleet", after, limit)
				if err != nil {
					t.Fatal(err)
				}
				size := 0
				for _, m := range page.Members {
					got = append(got, m.Peer)
					size += len(m.Peer) + len(m.Metadata)
					if !strings.Contains(m.Metadata, m.Peer) {
						t.Fatalf("%s has %.40s", m.Peer, m.Metadata)
					}
				}
				if len(page.Members) > limit || len(page.Members) == 0 || size > 512<<10 {
					t.Fatalf("a page of %d members and %d bytes, asked for %d", len(page.Members), size, limit)
				}
				pages++
				if page.Next == "" {
					break
				}
				after = page.Next
				if limit == presence.MaxPage {
					a.join("fleet", fmt.Sprintf("p%05d-new", pages), 1, `{"p":"p`+fmt.Sprintf("%05d-new", pages)+`"}`)
				}
			}
			stayed := slices.DeleteFunc(slices.Clone(got), func(p string) bool { return strings.HasSuffix(p, "-new") })
			if len(stayed) != peers || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Errorf("pages of %d: %d of %d peers", limit, len(stayed), peers)
			}
			if want := (peers + limit - 1) / limit; limit <= 100 && pages != want {
				t.Errorf("%d pages of %d, want %d", pages, limit, want)
			}
			if limit > peers {
				break
			}
		}
		if page, err := presence.List(context.Background(), a.redis, keys, "app", "nobody", "", 1); err != nil || len(page.Members) > 0 || page.Next != "" {
			t.Errorf("a channel with nobody in it: %+v %v", page, err)
		}
	})
}

// between calls change after each round trip of a client's pipelines.
type between struct {
	redis.Hook
	change func()
}

func (h between) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h between) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h.change()
		return err
	}
}

// A large channel that changes while it is read, together with the announcements
// since the version that was read, is what is there.
func TestLoadWhileItChanges(t *testing.T) {
	s := newSystem(t)
	s.member = unpaced
	hear := s.listen()
	a := s.node()
	const peers = 1500
	a.crowd("c", peers, func(string) string { return "{}" })
	trips := 0
	rdb := s.client()
	rdb.AddHook(between{change: func() {
		trips++
		for i := range 20 { // two in three of them are there again when all is read
			n := (trips*100 + i*37) % peers
			peer := fmt.Sprintf("p%05d", n)
			a.leave("c", peer, uint64(n+1))
			if i%3 > 0 {
				a.join("c", peer, uint64(n+1), fmt.Sprintf(`{"n":%d}`, trips))
			}
			a.join("c", fmt.Sprintf("q%d-%d", trips, i), 1, "")
		}
	}})
	states, err := presence.Load(context.Background(), rdb, keys, []presence.ChannelID{{App: "app", Channel: "c"}, {App: "app", Channel: "nobody"}})
	if err != nil || states[1].Version.Number != 0 || len(states[1].Members) > 0 {
		t.Fatalf("%+v %v", states[1], err)
	}
	if trips < 5 {
		t.Errorf("%d members were read in %d round trips", peers, trips)
	}
	a.settled()
	known := map[string]string{}
	for _, m := range states[0].Members {
		known[m.Peer] = m.Metadata
	}
	truth, err := presence.Load(context.Background(), a.redis, keys, []presence.ChannelID{{App: "app", Channel: "c"}})
	if err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, "all announcements are in", func() bool {
		hear.mu.Lock()
		defer hear.mu.Unlock()
		return hear.from["c"] == truth[0].Version
	})
	hear.mu.Lock()
	defer hear.mu.Unlock()
	for _, announced := range hear.heard {
		if announced.Version.Number <= states[0].Version.Number {
			continue
		}
		for _, c := range announced.Changes {
			if known[c.Peer] = c.Metadata; c.Kind == presence.Left {
				delete(known, c.Peer)
			}
		}
	}
	want := map[string]string{}
	for _, m := range truth[0].Members {
		want[m.Peer] = m.Metadata
	}
	if !maps.Equal(known, want) {
		t.Errorf("%d members are known, and %d are there, or some have other metadata", len(known), len(want))
	}
}

// A node, a list and the reaping of a dead node read a channel of 10,000 members in
// parts: nobody uses a command that reads all of them at once.
func TestNothingReadsAllAtOnce(t *testing.T) {
	s := newSystem(t)
	s.times = lasting
	ctx := context.Background()
	a, b := s.node(), s.node()
	const peers = 10_000
	monitor := s.client()
	b.crowd("fleet", peers, func(peer string) string { return `{"m":"` + strings.Repeat("x", 100) + `"}` })
	if _, err := presence.Load(ctx, a.redis, keys, []presence.ChannelID{{App: "app", Channel: "fleet"}}); err != nil {
		t.Fatal(err)
	}
	if page, err := presence.List(ctx, a.redis, keys, "app", "fleet", "", presence.MaxPage); err != nil || len(page.Members) != presence.MaxPage {
		t.Fatal(len(page.Members), err)
	}
	b.die()
	b.expires(a.redis)
	awaitList(t, a.redis, "fleet", "")
	stats, err := monitor.Info(ctx, "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"hgetall", "smembers", "hvals", "hkeys"} {
		if strings.Contains(stats, "cmdstat_"+command+":") {
			t.Errorf("%s was used", command)
		}
	}
}
