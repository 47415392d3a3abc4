// Package routes puts the functions of the control plane behind one
// http.Handler, as the load balancer's rules do in the AWS deployment, for
// servers that run them all in one process.
package routes

import (
	"log/slog"
	"net/http"
	"time"

	"fleetwire/functions/commands"
	"fleetwire/functions/events"
	"fleetwire/functions/groups"
	"fleetwire/functions/history"
	"fleetwire/functions/internal/api"
	"fleetwire/functions/peers"
	"fleetwire/functions/publish"
	"fleetwire/functions/tokens"
	"fleetwire/functions/usage"
	"fleetwire/pkg/apps"
)

// Route is one row of the REST table (protocol §5): a method, a path template
// with at most one {parameter}, and the folder in functions/ that serves it.
type Route = api.Route

// Config is what the functions need, all together.
type Config struct {
	Apps      *apps.Store       // required
	Limiter   api.RateLimiter   // required; requests per key
	Publisher publish.Publisher // required; the door for messages
	// Closes a peer's connections and refuses its tokens; nil: the route is
	// not served.
	Connections peers.Connections
	Revocations peers.Revocations
	Members     peers.Members    // who is in a channel; nil: the route is not served
	Registry    peers.Registry   // the peers of an app; nil: its routes are not served
	Shower      peers.Shower     // asks nodes about connections; required with Registry
	History     history.Store    // what channels remember; nil: its routes are not served
	Reporter    peers.Reporter   // asks nodes about themselves; nil: the route is not served
	Commands    Commands         // nil: the routes of commands are not served
	Groups      groups.Groups    // messages that wait for ingesters; nil: its routes are not served
	Sinks       groups.Sinks     // the states of groups' sinks; required with Groups
	Events      events.Streams   // nil: the route is not served
	Usage       usage.Reader     // nil: the usage routes are not served
	Observe     Observer         // nil: requests are not observed
	Trace       Tracer           // nil: no request has a span
	Log         *slog.Logger     // nil: slog.Default()
	Now         func() time.Time // nil: time.Now
}

// Commands is what all routes of commands need: [command.Service].
type Commands interface {
	commands.Commands
	peers.Commands
}

// All lists every route, so that a deployment can be held against it. A route without a Function is served
// by nodes alone.
func All() []Route {
	return []Route{tokens.Route, publish.Route, publish.ManyRoute, history.ReadRoute, history.ForgetRoute, commands.CreateRoute, commands.ListRoute, commands.AnswersRoute, commands.ReadRoute, commands.CancelRoute, groups.PullRoute, groups.AckRoute, groups.DeadRoute, groups.DeleteRoute, groups.RedriveRoute, groups.ResumeRoute, groups.StateRoute, peers.ListRoute, peers.AllRoute, peers.CommandsRoute, peers.OneRoute, peers.DisconnectRoute, peers.NodesRoute, events.Route, usage.Route, usage.ChannelsRoute, usage.PeersRoute}
}

// New makes the handler of all routes ([api.Router]).
func New(c Config) http.Handler {
	shared := api.Config{Apps: c.Apps, Limiter: c.Limiter, Log: c.Log, Now: c.Now}
	endpoints := append([]*api.Endpoint{tokens.New(shared)}, publish.Endpoints(shared, c.Publisher)...)
	if c.History != nil {
		endpoints = append(endpoints, history.Endpoints(shared, c.History)...)
	}
	if c.Commands != nil {
		endpoints = append(endpoints, commands.Endpoints(shared, commands.Config{Commands: c.Commands})...)
	}
	if c.Groups != nil {
		endpoints = append(endpoints, groups.Endpoints(shared, groups.Config{Groups: c.Groups, Sinks: c.Sinks})...)
	}
	if c.Members != nil {
		endpoints = append(endpoints, peers.NewList(shared, c.Members))
	}
	if c.Registry != nil {
		endpoints = append(endpoints, peers.NewAll(shared, c.Registry))
	}
	if c.Commands != nil { // before /v1/peers/{peer}, which matches it, too
		endpoints = append(endpoints, peers.NewCommands(shared, c.Commands))
	}
	if c.Registry != nil {
		endpoints = append(endpoints, peers.NewOne(shared, c.Registry, c.Shower))
	}
	if c.Connections != nil {
		endpoints = append(endpoints, peers.NewDisconnect(shared, c.Connections, c.Revocations))
	}
	if c.Reporter != nil {
		endpoints = append(endpoints, peers.NewNodes(shared, c.Reporter))
	}
	if c.Events != nil {
		endpoints = append(endpoints, events.New(shared, c.Events))
	}
	if c.Usage != nil {
		endpoints = append(endpoints, usage.Endpoints(shared, c.Usage)...)
	}
	return api.NewRouter(shared, c.watched, endpoints...)
}
