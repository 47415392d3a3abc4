// Package stack is all of Fleetwire in one process, as a type: the control
// plane's handlers and a fan-out node on one address, on an embedded Redis
// or on a real Redis. localdev runs it, and end-to-end tests start it on port 0.
package stack

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"fleetwire/fanout/controlplane"
	"fleetwire/fanout/node"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/sink"
	"fleetwire/pkg/tracing"
)

// clockStep is how often the embedded Redis is told that time has passed:
// miniredis expires nothing by itself.
const clockStep = 100 * time.Millisecond

// Options set a Stack up.
type Options struct {
	Listen, Ops string // addresses, host:port; Ops "" for none
	Apps        *apps.Store
	// Redis is a URL, "" for an embedded one.
	Redis string
	// RedisPrefix is what all names in Redis begin with, "" for the default.
	RedisPrefix    string
	RedisTLS       redisconn.TLS
	TrustedProxies []netip.Prefix
	SinkNetworks   []netip.Prefix // as in node.Options
	Drain          time.Duration
	Hurry          <-chan struct{} // likewise
	Sinks          sink.Maker      // likewise
	Tracing        *tracing.Tracer // likewise
	Log            *slog.Logger
	LogDropped     func() uint64 // as in node.Options
}

// Stack is everything in one process.
type Stack struct {
	Node     *node.Node
	embedded *embeddedRedis
	close    func()
}

// New takes the addresses and connects to Redis. An error names the flag that
// it is about.
func New(ctx context.Context, opt Options) (*Stack, error) {
	s := &Stack{}
	url := opt.Redis
	if url == "" {
		var err error
		if s.embedded, err = startEmbedded(opt.Log); err != nil {
			return nil, fmt.Errorf("the embedded Redis does not start: %w", err)
		}
		url = "redis://" + s.embedded.addr
	}
	closeEmbedded := func() {
		if s.embedded != nil {
			s.embedded.close()
		}
	}
	rdb, keys, err := node.OpenRedis(ctx, node.RedisOptions{
		URL: url, Prefix: cmp.Or(opt.RedisPrefix, rediskeys.DefaultPrefix), TLS: opt.RedisTLS, Log: opt.Log,
	})
	if err != nil {
		closeEmbedded()
		return nil, err
	}
	s.close = func() {
		_ = rdb.Close()
		closeEmbedded()
	}
	s.Node, err = controlplane.NewNode(node.Options{
		Listen: opt.Listen, Ops: opt.Ops, Apps: opt.Apps,
		Redis: rdb, Keys: keys,
		TrustedProxies: opt.TrustedProxies, SinkNetworks: opt.SinkNetworks, Drain: opt.Drain, Hurry: opt.Hurry, Sinks: opt.Sinks, Console: true, Tracing: opt.Tracing, Log: opt.Log, LogDropped: opt.LogDropped,
	}, true)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// Run serves until ctx ends and the node has drained.
func (s *Stack) Run(ctx context.Context) error {
	defer s.close()
	if s.embedded != nil {
		ticking, stop := context.WithCancel(context.Background())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			s.driveClock(ticking)
		}()
		defer func() { stop(); <-stopped }()
	}
	return s.Node.Run(ctx)
}

func (s *Stack) driveClock(ctx context.Context) {
	tick := time.NewTicker(clockStep)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.embedded.FastForward(now.Sub(last))
			last = now
		}
	}
}
