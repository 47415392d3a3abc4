package redisconn_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// Any node's address is that of the cluster, alone or among others.
func TestFormsOfACluster(t *testing.T) {
	c := redistest.SharedCluster(t)
	keys := spread(c, 3)
	for _, url := range []string{c.URL(), c.Nodes[1].URL(), c.Nodes[2].URL() + "/0?pool_size=3"} {
		rdb := redistest.Open(t, url, redisconn.TLS{})
		own := redisconn.Own(rdb)
		defer own.Close()
		if !redisconn.IsCluster(rdb) || !redisconn.IsCluster(own) || redisconn.Database(rdb) != 0 {
			t.Errorf("%s: is taken for one server", url)
		}
		for _, key := range keys {
			if err := rdb.Set(t.Context(), key, url, 0).Err(); err != nil {
				t.Errorf("%s: %v", url, err)
			}
			if got, err := own.Get(t.Context(), key).Result(); got != url {
				t.Errorf("%s: a client of its own got %s (%v)", url, got, err)
			}
		}
		p := rdb.Pipeline()
		p.Ping(t.Context())
		p.Del(t.Context(), keys[0])
		p.Exists(t.Context(), keys[1])
		if _, err := p.Exec(t.Context()); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{c.Nodes[0].URL() + "/1", c.URL() + "/1"} {
		if _, err := redisconn.Open(url, redisconn.TLS{}); err == nil || !strings.Contains(err.Error(), "database number") {
			t.Errorf("%s: %v, want that a cluster has none", url, err)
		}
	}
}

func TestFormsOfOneServer(t *testing.T) {
	s := redistest.Start(t)
	for _, url := range []string{s.URL(), s.URL() + "/3", "redis://127.0.0.1:1"} {
		rdb := redistest.Open(t, url, redisconn.TLS{})
		if _, ok := rdb.(*redis.Client); !ok || redisconn.IsCluster(rdb) {
			t.Errorf("%s: is a %T", url, rdb)
		}
	}
	own := redisconn.Own(s.Client())
	defer own.Close()
	if err := own.Ping(t.Context()).Err(); err != nil {
		t.Errorf("a client of its own: %v", err)
	}
	// A command whose answer was lost is not sent again.
	if opt := own.(*redis.Client).Options(); opt.PoolSize != 1 || opt.MaxRetries != 0 {
		t.Errorf("a client of its own has %d connections and retries %d times", opt.PoolSize, opt.MaxRetries)
	}
}

// Several addresses are of a cluster, and servers that are none say so.
func TestAddressesOfNoCluster(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	rdb := redistest.Open(t, a.URL()+","+b.Addr(), redisconn.TLS{})
	if err := rdb.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "no node of a cluster") {
		t.Errorf("%v, want an error that says that they are no cluster", err)
	}
}

// A process that has a server open finds a cluster in its place.
func TestServerBecomesCluster(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr())
	rdb := redistest.Open(t, proxy.URL(), redisconn.TLS{})
	if redisconn.IsCluster(rdb) {
		t.Fatal("one server is taken for a cluster")
	}
	proxy.Lead(redistest.SharedCluster(t).Nodes[0].Addr())
	if err := rdb.Ping(t.Context()).Err(); !redisconn.BecameCluster(err) { // on a connection of its own
		t.Errorf("%v, want an error that says that it is a cluster", err)
	}
}

// The process must learn that its client will never work, and say why.
func TestHealthOfAServerThatBecameACluster(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr())
	rdb := redistest.Open(t, proxy.URL(), redisconn.TLS{})
	proxy.Lead(redistest.SharedCluster(t).Nodes[0].Addr())
	h := redisconn.NewHealth(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx, func(ctx context.Context) error { return rdb.Ping(ctx).Err() }) })
	h.Look()
	err := <-h.Useless()
	if !redisconn.BecameCluster(err) || !strings.Contains(h.Trouble(), "is a cluster") || h.Up() {
		t.Errorf("%v; trouble %q", err, h.Trouble())
	}
	cancel()
	running.Wait()
}

// One node of a cluster that fails says nothing of the others: the probe decides.
func TestHealthOfACluster(t *testing.T) {
	lost := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	h := redisconn.NewHealth(slog.New(slog.DiscardHandler))
	h.Of(redistest.SharedCluster(t).Client())
	h.Observe(lost)
	if !h.Up() {
		t.Error("one node that is away is taken for all")
	}
	h = redisconn.NewHealth(slog.New(slog.DiscardHandler))
	h.Of(redistest.Start(t).Client())
	h.Observe(lost)
	if h.Up() {
		t.Error("a server that is away is taken for one that is there")
	}
}
