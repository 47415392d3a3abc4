package registry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

var keys rediskeys.Namespace

// patience is only ever waited out by a test that fails.
const patience = 10 * time.Second

// directory is a document with the apps "app" and "other". Graces are over at once
// when the test says so (system.grace).
func directory(t testing.TB, settings string) *apps.Directory {
	t.Helper()
	d, err := apps.Parse(fmt.Appendf(nil, `{"apps":[{"id":"app",%s"keys":[
		{"id":"sk_app","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["devices/**"],"actions":["publish"]},
		{"id":"sk_mute","secret":"fedcba9876543210fedcba9876543210","channelPatterns":["**"],"actions":["subscribe"]},
		{"id":"pk_live_app","channelPatterns":["devices/**"],"actions":["publish"]}]},{"id":"other","keys":[]}]}`, settings))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// node is a Recorder, with the connections that it has.
type node struct {
	*Recorder
	t    *testing.T
	app  *apps.App
	stop func()

	mu       sync.Mutex
	conns    map[uint64]Connected
	last     uint64
	messages []publish.Message                           // wills that are published
	answers  func(publish.Message) *protocol.Error       // what becomes of them; nil: they are
	due      map[string]int                              // what became of wills
	revoked  func(*auth.Grant) (revoked bool, err error) // nil: not
}

// start starts a node with an identity of its own.
func start(t *testing.T, rdb redis.UniversalClient, identity string, d *apps.Directory) *node {
	t.Helper()
	app, _ := d.App("app")
	n := &node{t: t, app: app, conns: map[uint64]Connected{}, due: map[string]int{}}
	n.Recorder = NewRecorder(RecorderOptions{
		Redis: rdb, Keys: keys, Node: "node-" + identity, Process: 7, Directory: func() *apps.Directory { return d }, Connections: n.connections,
		Publisher: n, Revoked: n.askRevoked, WillDue: n.willDue,
		Log: slog.New(slog.DiscardHandler),
	})
	if identity != "" {
		n.Identified(identity)
	}
	n.run()
	t.Cleanup(func() { n.stop() })
	return n
}

// run has the node tell Redis, until stop is called.
func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.Run(ctx)
	}()
	n.stop = func() {
		cancel()
		<-ended
	}
}

func (n *node) connections() (all []Connected) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		all = append(all, c)
	}
	return all
}

// connect begins a connection, and returns how to end it.
func (n *node) connect(peer, metadata string) (end func(code int, reason Reason)) {
	_, end = n.begin(peer, metadata)
	return end
}

// begin is connect that returns the connection, too.
func (n *node) begin(peer, metadata string) (c Connected, end func(code int, reason Reason)) {
	n.mu.Lock()
	n.last++
	c = Connected{App: n.app, Peer: peer, Connection: n.last, Epoch: new(atomic.Uint64), Will: new(atomic.Pointer[Will])}
	if metadata != "" {
		c.Metadata = []byte(metadata)
	}
	n.conns[c.Connection] = c
	n.mu.Unlock()
	n.Connected(c)
	return c, func(code int, reason Reason) {
		n.mu.Lock()
		delete(n.conns, c.Connection)
		n.mu.Unlock()
		n.Disconnected(Disconnected{App: n.app, Peer: peer, Connection: c.Connection, Code: code, Reason: reason, Will: c.Will.Load() != nil})
	}
}

// settled waits until everything is told.
func (n *node) settled() {
	n.t.Helper()
	redistest.Eventually(n.t, patience, "redis is told everything", func() bool {
		n.Recorder.mu.Lock()
		defer n.Recorder.mu.Unlock()
		return len(n.queue) == 0
	})
}

// see is what the registry has of a peer.
func see(t *testing.T, rdb redis.UniversalClient, app *apps.App, peer string) (Peer, bool) {
	t.Helper()
	p, ok, err := NewReader(rdb, keys).Get(t.Context(), app, peer)
	if err != nil {
		t.Fatal(err)
	}
	return p, ok
}

// pass has the graces of the peers be over, and what they bring done.
func (n *node) pass(peers ...string) {
	n.t.Helper()
	for _, peer := range peers {
		b := keys.Bucket("app", peer)
		key := b.Due(string(deadline.Grace))
		if n.opt.Redis.ZScore(n.t.Context(), key, peer).Err() == redis.Nil {
			continue
		}
		n.opt.Redis.ZAdd(n.t.Context(), key, redis.Z{Score: 1, Member: peer})
		if err := n.graces(n.t.Context(), []deadline.Due{{App: "app", Bucket: b, IDs: []string{peer}}}); err != nil {
			n.t.Fatal(err)
		}
	}
}
