// Fanout is the production node: it holds the WebSockets of devices and
// ingesters and delivers to them what is published; with -control-plane it serves
// REST too. Any number of them on one Redis behave as one.
package main

import (
	"context"
	"errors"
	"fmt"

	"fleetwire/fanout/controlplane"
	"fleetwire/fanout/internal/targetdrain"
	"fleetwire/fanout/node"
	"fleetwire/pkg/awssecret"
	"fleetwire/pkg/program"
)

const help = `fanout is a Fleetwire fan-out node: WebSockets on -listen at /v1, and REST with -control-plane;
operations on -ops. On SIGTERM it tells its peers, closes their connections over -drain (at once with
a second SIGTERM), and exits 0. So it does when the AWS target group FLEETWIRE_TARGET_GROUP_ARN drains it. On SIGHUP it reads
the apps document again. "fanout healthcheck" asks a running one. -version prints which build this is.`

func main() { program.Main("fanout", run) }

func run(ctx context.Context, p *program.Process, args []string) error {
	check := len(args) > 0 && args[0] == "healthcheck"
	if check {
		args = args[1:]
	}
	c, err := node.ParseConfig(args, p.Stderr, node.Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081"}, help)
	if err != nil {
		return err
	}
	if check {
		return node.CheckHealth(ctx, c.Ops)
	}
	if c.Apps == "" || c.Redis == "" {
		return errors.New("-apps and -redis are required; to try Fleetwire without either, run localdev")
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
	n, err := controlplane.NewNode(node.Options{
		Listen: c.Listen, Ops: c.Ops, Apps: document.Store, Redis: rdb, Keys: keys,
		TrustedProxies: c.TrustedProxies, Drain: c.Drain, Hurry: p.Hurry, Log: c.Log, LogDropped: p.Stderr.Dropped,
	}, c.ControlPlane)
	if err != nil {
		return err
	}
	if ctx, err = targetdrain.Context(ctx, n.Addr(), c.Log); err != nil {
		return err
	}
	go node.TendHeap(ctx)
	go document.Run(ctx, p.Reload)
	c.Log.Info("listening", "address", n.Addr(), "ops", n.OpsAddr())
	return n.Run(ctx)
}
