package cmd

import (
	"slices"

	"github.com/spf13/cobra"

	"fleetwire/fanout/serve"
	"fleetwire/localdev/dev"
)

const devHelp = `fleetwire dev is all of Fleetwire in one process: REST, WebSockets and the console on -listen, operations on -ops.
Without -redis it has a Redis of its own, in memory. Without -apps it makes a key pair at its
first start and keeps it in .fleetwire/apps.json, where other commands in this folder find it. On SIGHUP it reads
the apps document again.`

func (c *cli) devCommand() *cobra.Command {
	return &cobra.Command{
		Use: "dev [flags]", Short: "Run everything in one process, on an embedded Redis",
		Long:               devHelp + "\n\nIts flags are those of \"fleetwire dev -h\".",
		Example:            "  fleetwire dev\n  fleetwire dev -listen 127.0.0.1:9000 -redis redis://127.0.0.1:6379",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return dev.Run(cmd.Context(), c.Process, args, dev.Options{Help: devHelp, Tool: true})
		},
	}
}

const serveHelp = `fleetwire serve is a production node: WebSockets at /v1, REST and the console on -listen, operations on -ops. Any number of
them on one Redis behave as one. -control-plane=false leaves REST and the console out, where Lambda functions serve REST.
-console=false leaves the console out.
On SIGTERM it tells its peers, closes their connections over -drain (at once with a second SIGTERM), and exits 0.
On SIGHUP it reads the apps document again. "fleetwire serve healthcheck" asks a running one.`

func (c *cli) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve [flags]", Short: "Run a production node, with REST, on a Redis",
		Long:               serveHelp + "\n\nIts flags are those of \"fleetwire serve -h\".",
		Example:            "  fleetwire serve -listen :8080 -apps apps.json -redis rediss://user:password@redis.internal:6379",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return serve.Run(cmd.Context(), c.Process, slices.Clone(args), serve.Options{Help: serveHelp, ControlPlane: true, Try: "fleetwire dev"})
		},
	}
}
