// Package dev runs all of Fleetwire in one process, as a program: from its command line and
// its environment until it has drained.
package dev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fleetwire/fanout/node"
	"fleetwire/localdev/stack"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/program"
	"fleetwire/pkg/tracing"
)

// Options say what differs between the programs that do this.
type Options struct {
	Help string // what -h says first
	// Tool says that the program is fleetwire: what it prints to try are commands of its own.
	Tool bool
}

// Run serves until ctx ends and the node has drained.
func Run(ctx context.Context, p *program.Process, args []string, opt Options) error {
	// Ctrl-C should end it soon: there is no other node that the devices could move to.
	c, err := node.ParseConfig(args, p.Stderr, node.Config{Listen: "127.0.0.1:8080", Ops: "127.0.0.1:8081", Drain: time.Second, ControlPlane: true, Console: true}, opt.Help)
	if err != nil {
		return err
	}
	if !c.ControlPlane {
		return errors.New("-control-plane: everything in one process always serves REST; leave the flag out")
	}
	if !c.Console {
		return errors.New("-console: everything in one process always serves the console; leave the flag out")
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
	tracer, err := tracing.FromEnvironment(ctx, program.Version(), c.Log)
	if err != nil {
		return err
	}
	defer tracer.Close()
	s, err := stack.New(ctx, stack.Options{
		Listen: c.Listen, Ops: c.Ops, Apps: document.Store, Redis: c.Redis, RedisPrefix: c.RedisPrefix, RedisTLS: c.RedisTLS,
		TrustedProxies: c.TrustedProxies, SinkNetworks: c.SinkNetworks, Drain: c.Drain, Hurry: p.Hurry, Tracing: tracer, Log: c.Log, LogDropped: p.Stderr.Dropped,
	})
	if err != nil {
		return err
	}
	go node.TendHeap(ctx)
	go document.Run(ctx, p.Reload)
	greet(p.Stdout, c, spec, s.Node, document.Store.Current(), opt.Tool)
	return s.Run(ctx)
}
