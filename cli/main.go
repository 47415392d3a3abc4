// Fleetwire is the service and the tool to work with one, in one program: it runs everything
// on a laptop or a node in production, and publishes, subscribes, commands devices and looks after
// a deployment.
package main

import (
	"context"
	"os"
	"time"

	"fleetwire/cli/internal/cmd"
	"fleetwire/cli/internal/contexts"
	"fleetwire/pkg/program"
)

func main() {
	program.Main("fleetwire", func(ctx context.Context, p *program.Process, args []string) error {
		return cmd.Run(ctx, cmd.World{
			In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv,
			Contexts: contexts.DefaultFile, Process: p, Now: time.Now,
		}, args)
	})
}
