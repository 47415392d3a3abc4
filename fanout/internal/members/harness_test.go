package members

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/registry"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// keys name what the tests have in Redis.
var keys rediskeys.Namespace

// patience is far more than anything takes; only a test that fails waits for it.
const patience = 20 * time.Second

// system is nodes on one Redis.
type system struct {
	t      testing.TB
	server *redistest.Server // nil: embedded
	client func() redis.UniversalClient
	times  times
	member *rate // of changes of a peer in a channel; nil: memberRate
}

// unpaced holds nothing back.
var unpaced = &rate{burst: 1}

// onEachRedis runs the test on a real Redis, on an embedded one, and on a Redis Cluster.
func onEachRedis(t *testing.T, test func(t *testing.T, s *system)) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		test(t, &system{t: t, times: timesOf(registry.Lease), client: client})
	})
}

// onEachServer is onEachRedis for a test that listens as one server publishes.
func onEachServer(t *testing.T, test func(t *testing.T, s *system)) {
	redistest.BothClients(t, func(t *testing.T, client func() *redis.Client) {
		test(t, &system{t: t, times: timesOf(registry.Lease), client: func() redis.UniversalClient { return client() }})
	})
}

// keysLike are the keys of all masters that match the pattern.
func keysLike(rdb redis.UniversalClient, pattern string) (all []string, err error) {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return rdb.Keys(context.Background(), pattern).Result()
	}
	var mu sync.Mutex
	err = cluster.ForEachMaster(context.Background(), func(ctx context.Context, master *redis.Client) error {
		found, err := master.Keys(ctx, pattern).Result()
		mu.Lock()
		defer mu.Unlock()
		all = append(all, found...)
		return err
	})
	return all, err
}

func newSystem(t testing.TB) *system {
	t.Helper()
	server := redistest.Start(t)
	return &system{t: t, server: server, times: timesOf(registry.Lease), client: func() redis.UniversalClient { return server.Client() }}
}

// node is a tracker that runs.
type node struct {
	*Tracker
	t     testing.TB
	redis redis.UniversalClient
	stop  func() // in order; again is fine
	holds atomic.Pointer[string]
}

// identified is the identity that the node has taken last. Its own is Run's.
func (n *node) identified() string { return *n.holds.Load() }

func (s *system) node() *node {
	s.t.Helper()
	rdb := s.client()
	log := slog.New(slog.DiscardHandler)
	n := &node{t: s.t, redis: rdb}
	n.Tracker = NewTracker(Options{
		Redis: rdb, Health: redisconn.NewHealth(log), Log: log,
		Identified: func(identity string) { n.holds.Store(&identity) },
	})
	n.times = s.times
	if s.member != nil {
		n.pace.member.rate = *s.member
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.Run(ctx)
	}()
	n.stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			s.t.Error("Run does not return when its context ends")
		}
	}
	s.t.Cleanup(n.stop)
	redistest.Eventually(s.t, patience, "the node has its lease", n.Live)
	return n
}

// die ends the node as a crash does: Redis hears no more of it.
func (n *node) die() {
	_ = n.redis.Close()
	n.stop()
}

// expires has the lease of a node that has died run out, as rdb tells the others.
func (n *node) expires(rdb redis.UniversalClient) {
	n.t.Helper()
	if err := rdb.ZAdd(context.Background(), keys.Leases(), redis.Z{Score: 1, Member: n.identified()}).Err(); err != nil {
		n.t.Fatal(err)
	}
}

// join waits until Redis has it.
func (n *node) join(channel, peer string, connection uint64, metadata string) presence.Version {
	n.t.Helper()
	v, err := n.tryJoin(channel, peer, connection, metadata)
	if err != nil {
		n.t.Fatalf("%s does not get into %s: %v", peer, channel, err)
	}
	return v
}

func (n *node) tryJoin(channel, peer string, connection uint64, metadata string) (version presence.Version, err error) {
	done := make(chan struct{})
	var md []byte
	if metadata != "" {
		md = []byte(metadata)
	}
	if refused := n.Join("app", channel, peer, connection, md, func(v presence.Version, e error) { version, err = v, e; close(done) }); refused != nil {
		return presence.Version{}, refused
	}
	select {
	case <-done:
	case <-time.After(patience):
		n.t.Fatal("done is not called")
	}
	return version, err
}

func (n *node) leave(channel, peer string, connection uint64) {
	n.Leave("app", channel, peer, connection)
}

// settled waits until Redis has been told everything.
func (n *node) settled() {
	n.t.Helper()
	redistest.Eventually(n.t, patience, "everything is told", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, m := range n.members {
			if m.dirty || m.known != (m.connection != 0) || m.connection == 0 {
				return false
			}
		}
		return len(n.queue) == 0
	})
}

// list is who is in the channel, as in "a b{...}".
func list(t testing.TB, rdb redis.UniversalClient, channel string) string {
	t.Helper()
	var all []string
	for after := ""; ; {
		page, err := presence.List(context.Background(), rdb, keys, "app", channel, after, presence.MaxPage)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Members {
			all = append(all, m.Peer+m.Metadata)
		}
		if after = page.Next; after == "" {
			return strings.Join(all, " ")
		}
	}
}

func wantList(t testing.TB, rdb redis.UniversalClient, channel, want string) {
	t.Helper()
	if got := list(t, rdb, channel); got != want {
		t.Errorf("%s has %q, want %q", channel, got, want)
	}
}

// awaitList is wantList for what happens by itself.
func awaitList(t testing.TB, rdb redis.UniversalClient, channel, want string) {
	t.Helper()
	redistest.Eventually(t, patience, fmt.Sprintf("%s has %q", channel, want), func() bool { return list(t, rdb, channel) == want })
}

// listener hears all announcements of channels of the app.
type listener struct {
	t      testing.TB
	pubsub *redis.PubSub
	mu     sync.Mutex
	heard  []presence.Announcement
	from   map[string]presence.Version
	lines  []string
	last   map[string]map[string]presence.ChangeKind // by channel and peer
}

func (s *system) listen() *listener {
	s.t.Helper()
	l := &listener{t: s.t, pubsub: s.client().PSubscribe(context.Background(), keys.Glob(rediskeys.Presence, "app", "*")), from: map[string]presence.Version{}, last: map[string]map[string]presence.ChangeKind{}}
	if _, err := l.pubsub.Receive(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			m, err := l.pubsub.ReceiveMessage(context.Background())
			if err != nil {
				return
			}
			l.add(m)
		}
	}()
	s.t.Cleanup(func() { _ = l.pubsub.Close(); <-ended })
	return l
}

func (l *listener) add(m *redis.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, err := presence.ParseAnnouncement([]byte(m.Payload))
	if err != nil {
		l.t.Errorf("%q: %v", m.Payload, err)
		return
	}
	kind, app, channel, ok := keys.ParseTopic(m.Channel)
	if !ok || kind != rediskeys.Presence || app != "app" {
		l.t.Errorf("announced on %q", m.Channel)
	}
	if last := l.from[channel]; a.Version.Number != 1 && a.Version != (presence.Version{Incarnation: last.Incarnation, Number: last.Number + 1}) {
		l.t.Errorf("%s: announcement %v after %v", channel, a.Version, last)
	}
	l.from[channel] = a.Version
	l.heard = append(l.heard, a)
	changes := make([]string, len(a.Changes))
	if l.last[channel] == nil {
		l.last[channel] = map[string]presence.ChangeKind{}
	}
	for i, c := range a.Changes {
		l.last[channel][c.Peer] = c.Kind
		changes[i] = string(rune(c.Kind)) + c.Peer + c.Metadata
	}
	slices.Sort(changes)
	l.lines = append(l.lines, channel+": "+strings.Join(changes, " "))
}

// want checks what was heard since the last want, one line an announcement.
func (l *listener) want(lines ...string) {
	l.t.Helper()
	redistest.Eventually(l.t, patience, fmt.Sprintf("announced: %q", lines), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.lines) >= len(lines)
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.lines, lines) {
		l.t.Errorf("announced %q, want %q", l.lines, lines)
	}
	l.lines = nil
}
