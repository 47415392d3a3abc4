// Localdev is all of Fleetwire in one process, for a laptop with nothing but Go:
// an embedded Redis, the control plane and a fan-out node on one address.
package main

import (
	"context"
	"errors"
	"fmt"

	"fleetwire/fanout/node"
	"fleetwire/localdev/stack"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/program"
)

const help = `localdev is all of Fleetwire in one process: REST and WebSockets on -listen, operations on -ops.
Without -redis it has a Redis of its own, in memory. Without -apps it makes a key pair at
its first start and keeps it in .fleetwire/apps.json. On SIGHUP it reads the apps document again.
-version prints which build this is.`

func main() { program.Main("localdev", run) }

func run(ctx context.Context, p *program.Process, args []string) error {
	c, err := node.ParseConfig(args, p.Stderr, node.Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", ControlPlane: true}, help)
	if err != nil {
		return err
	}
	if !c.ControlPlane {
		return errors.New("-control-plane: localdev always serves REST; run fanout for a node without it")
	}
	spec := c.Apps
	if spec == "" {
		if spec, err = ownApps(); err != nil {
			return err
		}
	}
	source, err := apps.SourceOf(spec)
	if err != nil {
		return fmt.Errorf("-apps: %w", err)
	}
	document, err := apps.Open(ctx, source, c.Log)
	if err != nil {
		return fmt.Errorf("-apps: %w", err)
	}
	s, err := stack.New(ctx, stack.Options{
		Listen: c.Listen, Ops: c.Ops, Apps: document.Store, Redis: c.Redis, RedisPrefix: c.RedisPrefix, RedisTLS: c.RedisTLS,
		TrustedProxies: c.TrustedProxies, Drain: c.Drain, Hurry: p.Hurry, Log: c.Log, LogDropped: p.Stderr.Dropped,
	})
	if err != nil {
		return err
	}
	go node.TendHeap(ctx)
	go document.Run(ctx, p.Reload)
	greet(p.Stdout, c, spec, s.Node, document.Store.Current())
	return s.Run(ctx)
}
