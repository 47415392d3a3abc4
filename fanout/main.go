// Fanout is the production node: it holds the WebSockets of devices and
// ingesters and delivers to them what is published; with -control-plane it serves
// REST too. Any number of them on one Redis behave as one.
package main

import (
	"context"

	"fleetwire/fanout/serve"
	"fleetwire/pkg/program"
)

const help = `fanout is a Fleetwire fan-out node: WebSockets on -listen at /v1, REST with -control-plane, and the
console with -console besides; operations on -ops. On SIGTERM it tells its peers, closes their connections
over -drain (at once with a second SIGTERM), and exits 0. So it does when the AWS target group
FLEETWIRE_TARGET_GROUP_ARN drains it. On SIGHUP it reads the apps document again. "fanout healthcheck"
asks a running one. -version prints which build this is.`

func main() { program.Main("fanout", run) }

func run(ctx context.Context, p *program.Process, args []string) error {
	return serve.Run(ctx, p, args, serve.Options{Help: help, Try: "localdev"})
}
