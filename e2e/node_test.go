package e2e

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/localdev/stack"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/logtest"
	"fleetwire/pkg/redisconn/redistest"
)

// system is one or more nodes on one Redis.
type system struct {
	t     testing.TB
	nodes []*node
	apps  *apps.Store
	redis *redistest.Server // nil: embedded, or a cluster
	// client opens a client of a real Redis; nil: embedded.
	client func() redis.UniversalClient
	log    *logText
}

// onCluster says whether the nodes' Redis is a cluster.
func (s *system) onCluster() bool { return s.client != nil && s.redis == nil }

// node is a stack.Stack that runs.
type node struct {
	t    testing.TB
	addr string
	ops  string
	stop func() // drains, and waits for the end; again is fine
}

// options of a system; the zero value is fine.
type options struct {
	drain        time.Duration
	hurry        <-chan struct{} // closed: cuts the drain short
	redisPrefix  string
	sinkNetworks []netip.Prefix
}

// onEachRedis runs the test on one node with its embedded Redis, on two nodes with a real
// one, and on two with a Redis Cluster.
func onEachRedis(t *testing.T, docs []*appDoc, test func(t *testing.T, s *system)) {
	t.Run("embedded", func(t *testing.T) { test(t, startEmbedded(t, docs...)) })
	t.Run("two nodes", func(t *testing.T) { test(t, startTwoNodes(t, docs...)) })
	t.Run("cluster", func(t *testing.T) { test(t, startOnCluster(t, docs...)) })
}

func startEmbedded(t testing.TB, docs ...*appDoc) *system {
	t.Helper()
	s := newSystem(t, docs...)
	s.start("", options{})
	return s
}

// startOneNode starts a node on a Redis of its own, where further nodes may join it.
func startOneNode(t testing.TB, docs ...*appDoc) *system {
	t.Helper()
	s := newSystem(t, docs...)
	s.redis = redistest.Start(t)
	s.client = func() redis.UniversalClient { return s.redis.Client() }
	s.start(s.redis.URL(), options{})
	return s
}

func startTwoNodes(t testing.TB, docs ...*appDoc) *system {
	t.Helper()
	s := startOneNode(t, docs...)
	s.start(s.redis.URL(), options{})
	return s
}

func startOnCluster(t testing.TB, docs ...*appDoc) *system {
	t.Helper()
	s := newSystem(t, docs...)
	cluster := redistest.SharedCluster(t)
	s.client = func() redis.UniversalClient { return cluster.Client() }
	s.start(cluster.URL(), options{})
	s.start(cluster.URL(), options{})
	return s
}

func newSystem(t testing.TB, docs ...*appDoc) *system {
	t.Helper()
	s := &system{t: t, apps: apps.NewStore(directory(t, docs...)), log: new(logText)}
	t.Cleanup(func() {
		s.log.checkSecrecy(t)
		if t.Failed() {
			t.Logf("the nodes' log:\n%s", s.log.tail())
		}
	})
	return s
}

// first and last are the two nodes, or both the only one.
func (s *system) first() *node { return s.nodes[0] }
func (s *system) last() *node  { return s.nodes[len(s.nodes)-1] }

// start starts one more node, and waits until it is ready.
func (s *system) start(redisURL string, o options) *node {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := stack.New(ctx, stack.Options{
		Listen: "127.0.0.1:0", Ops: "127.0.0.1:0", Apps: s.apps, Redis: redisURL, RedisPrefix: o.redisPrefix, SinkNetworks: o.sinkNetworks, Drain: o.drain, Hurry: o.hurry,
		Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), LogDropped: func() uint64 { return 0 },
	})
	if err != nil {
		cancel()
		s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- st.Run(ctx) }()
	n := &node{t: s.t, addr: st.Node.Addr(), ops: st.Node.OpsAddr()}
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				s.t.Errorf("the node ended with an error: %v", err)
			}
		case <-time.After(patience):
			s.t.Errorf("the node has not ended %v after its context", patience)
		}
	})
	s.t.Cleanup(n.stop)
	n.awaitReady(patience)
	s.nodes = append(s.nodes, n)
	return n
}

// ready asks /readyz.
func (n *node) ready() (status int, why string) {
	resp, err := web.Get("http://" + n.ops + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func (n *node) awaitReady(limit time.Duration) {
	n.t.Helper()
	eventually(n.t, "/readyz is 200", limit, func() bool {
		status, _ := n.ready()
		return status == http.StatusOK
	})
}

// logText collects log lines.
type logText struct{ logtest.Buffer }

func (l *logText) tail() string {
	text := l.String()
	if most := 1500; len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return text
}

// checkSecrecy holds for every test that starts a node: no log line has a
// secret or a token in it. All JWTs begin with eyJ, which is {" in base64.
func (l *logText) checkSecrecy(t testing.TB) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, secretMark) || strings.Contains(line, "eyJ") {
			t.Errorf("a log line has a secret or a token in it: %s", line)
		}
	}
}
