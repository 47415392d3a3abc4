// Package serve runs a production node as a program: from its command line and its
// environment until it has drained.
package serve

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"

	"fleetwire/fanout/controlplane"
	"fleetwire/fanout/internal/targetdrain"
	"fleetwire/fanout/node"
	"fleetwire/pkg/awssecret"
	"fleetwire/pkg/program"
	"fleetwire/pkg/tracing"
)

// Options say what differs between the programs that serve.
type Options struct {
	Help         string // what -h says first
	ControlPlane bool   // the default of -control-plane and -console
	Try          string // the program that needs neither -apps nor -redis
}

// Run serves until ctx ends and the node has drained. With "healthcheck" as first argument
// it asks a running node instead.
func Run(ctx context.Context, p *program.Process, args []string, opt Options) error {
	check := len(args) > 0 && args[0] == "healthcheck"
	if check {
		args = args[1:]
	}
	c, err := node.ParseConfig(args, p.Stderr, node.Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", ControlPlane: opt.ControlPlane, Console: opt.ControlPlane}, opt.Help)
	if err != nil {
		return err
	}
	if check {
		return node.CheckHealth(ctx, c.Ops)
	}
	if c.Apps == "" || c.Redis == "" {
		return fmt.Errorf("-apps and -redis are required; to try Fleetwire without either, run %s", opt.Try)
	}
	secrets := new(awssecret.Source)
	document, err := awssecret.OpenApps(ctx, secrets, c.Apps, c.Log)
	if err != nil {
		return fmt.Errorf("-apps: %w", err)
	}
	url, err := secrets.Resolve(ctx, c.Redis)
	if err != nil {
		return fmt.Errorf("-redis: %w", err)
	}
	rdb, keys, err := node.OpenRedis(ctx, node.RedisOptions{URL: url, Prefix: c.RedisPrefix, TLS: c.RedisTLS, Log: c.Log})
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	tracer, err := tracing.FromEnvironment(ctx, program.Version(), c.Log)
	if err != nil {
		return err
	}
	defer tracer.Close()
	n, err := controlplane.NewNode(node.Options{
		Listen: c.Listen, Ops: c.Ops, Apps: document.Store, Redis: rdb, Keys: keys,
		TrustedProxies: c.TrustedProxies, SinkNetworks: c.SinkNetworks, Drain: c.Drain, Hurry: p.Hurry, Console: c.Console, Tracing: tracer, Log: c.Log, LogDropped: p.Stderr.Dropped,
		Serving: func() { notify(c.Log, daemon.SdNotifyReady) },
	}, c.ControlPlane)
	if err != nil {
		return err
	}
	n.OnEnd(func() { notify(c.Log, daemon.SdNotifyStopping) }, func() {})
	if ctx, err = targetdrain.Context(ctx, n.Addr(), c.Log); err != nil {
		return err
	}
	go node.TendHeap(ctx)
	go document.Run(ctx, p.Reload)
	c.Log.Info("listening", "address", n.Addr(), "ops", n.OpsAddr())
	return n.Run(ctx)
}

// notify tells systemd how the node does, where a unit with Type=notify has started it.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd is not told", "state", state, "error", err)
	}
}
