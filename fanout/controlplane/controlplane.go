// Package controlplane puts the REST handlers of functions/ onto a node, for
// deployments without Lambda: one process then serves sockets and REST on one
// address. fanout does so with -control-plane, localdev always.
package controlplane

import (
	"context"

	"fleetwire/console"
	"fleetwire/fanout/node"
	"fleetwire/functions/routes"
	"fleetwire/pkg/command"
	"fleetwire/pkg/group"
	"fleetwire/pkg/history"
	"fleetwire/pkg/orders"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/registry"
	"fleetwire/pkg/revocation"
	"fleetwire/pkg/sink"
	"fleetwire/pkg/usage"
)

// NewNode makes a node and, if serveREST, has it serve all routes of protocol §5 beside
// the sockets, and the console if opt has it. Requests share the node's link to Redis,
// its readiness, its metrics and its drain; what they publish is in the usage figures
// that the node writes.
func NewNode(opt node.Options, serveREST bool) (*node.Node, error) {
	n, err := node.New(opt)
	if err != nil || !serveREST {
		return n, err
	}
	waits := command.NewWaits(n.Commands(), opt.Redis, opt.Log)
	n.OnEnd(waits.Drain, waits.Close)
	waiting := group.NewService(n.GroupOptions(), opt.Log)
	n.OnEnd(waiting.Drain, waiting.Close)
	sender := orders.NewSender(opt.Redis, opt.Keys)
	config := routes.Config{
		Apps: opt.Apps, Limiter: n.Limiter(), Publisher: n.Publisher(), Log: opt.Log,
		Registry: registry.NewReader(opt.Redis, opt.Keys), Shower: sender, Reporter: sender,
		Connections: sender, Revocations: revocation.NewList(opt.Redis, opt.Keys),
		Members: func(ctx context.Context, app, channel, after string, limit int) (presence.Page, error) {
			return presence.List(ctx, opt.Redis, opt.Keys, app, channel, after, limit)
		},
		History: history.NewStore(opt.Redis, opt.Keys),
		Commands: command.NewService(command.ServiceOptions{
			Store: n.Commands(), Creator: n.Commander(), Waits: waits, Keys: opt.Keys, Up: n.Up, Usage: n.Usage(), Now: opt.Now, Observe: n.CountCommands(),
		}),
		Groups:  waiting,
		Sinks:   sink.NewStates(opt.Redis, opt.Keys),
		Events:  n.Streams(sender),
		Usage:   usage.NewReader(opt.Redis, opt.Keys, nil),
		Observe: n.CountRequests(),
	}
	if opt.Tracing != nil {
		config.Trace = opt.Tracing.Request
	}
	rest := routes.New(config)
	if opt.Console {
		rest = console.New(console.Config{
			Apps: opt.Apps, REST: rest, Sessions: revocation.NewSessions(opt.Redis, opt.Keys), TrustedProxies: opt.TrustedProxies, Log: opt.Log, Now: opt.Now,
		})
	}
	n.MountControlPlane(rest)
	return n, nil
}
