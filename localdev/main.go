// Localdev is all of Fleetwire in one process, for a laptop with nothing but Go:
// an embedded Redis, the control plane and a fan-out node on one address.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"fleetwire/fanout/node"
	"fleetwire/localdev/stack"
	"fleetwire/pkg/apps"
)

const help = `localdev is all of Fleetwire in one process: REST and WebSockets on -listen, operations on -ops.
Without -redis it has a Redis of its own, in memory. Without -apps it makes a key pair at
its first start and keeps it in .fleetwire/apps.json.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "localdev:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	c, err := node.ParseConfig(args, os.Stderr, node.Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081"}, help)
	if err != nil {
		return err
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
		Listen: c.Listen, Ops: c.Ops, Apps: document.Store, Redis: c.Redis, RedisPrefix: c.RedisPrefix,
		TrustedProxies: c.TrustedProxies, Drain: c.Drain, Log: c.Log,
	})
	if err != nil {
		return err
	}
	go node.TendHeap(ctx)
	go document.Run(ctx)
	greet(os.Stdout, c, spec, s.Node, document.Store.Current())
	return s.Run(ctx)
}
