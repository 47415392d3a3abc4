// Localdev is all of Fleetwire in one process, for a laptop with nothing but Go:
// an embedded Redis, the control plane and a fan-out node on one address.
package main

import (
	"context"

	"fleetwire/localdev/dev"
	"fleetwire/pkg/program"
)

const help = `localdev is all of Fleetwire in one process: REST, WebSockets and the console on -listen, operations on -ops.
Without -redis it has a Redis of its own, in memory. Without -apps it makes a key pair at
its first start and keeps it in .fleetwire/apps.json. On SIGHUP it reads the apps document again.
-version prints which build this is.`

func main() { program.Main("localdev", run) }

func run(ctx context.Context, p *program.Process, args []string) error {
	return dev.Run(ctx, p, args, dev.Options{Help: help})
}
