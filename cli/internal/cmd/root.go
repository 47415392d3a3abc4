// Package cmd has the commands of fleetwire, the program that people type: one file for each.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fleetwire/cli/internal/contexts"
	"fleetwire/cli/internal/show"
	"fleetwire/clients/go/client"
	"fleetwire/pkg/program"
)

// World is what the commands see of the machine.
type World struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Contexts func() (contexts.File, error)
	Process  *program.Process // for the commands that serve
	Now      func() time.Time
}

// cli is one run of the program.
type cli struct {
	World
	out, err *show.Printer
	json     bool
	context  string // --context
}

const about = `fleetwire runs a Fleetwire service, and speaks to one.

It speaks to the context that --context or FLEETWIRE_CONTEXT names; else to what FLEETWIRE_URL
and FLEETWIRE_SECRET_KEY say; else to the current context (fleetwire context use); else to
the service that "fleetwire dev" runs in the same folder.

Exit status: 0 done · 1 failed · 2 wrong usage · 3 the service refused · 4 the service cannot be
reached · 5 a device did not do its command, or a check found a fault · 130 interrupted`

// Run runs what a command line says.
func Run(ctx context.Context, w World, args []string) error {
	c := &cli{World: w, out: show.NewPrinter(w.Out, w.Getenv), err: show.NewPrinter(w.Err, w.Getenv)}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(w.In)
	root.SetOut(w.Out)
	root.SetErr(w.Err)
	return c.status(ctx, root.ExecuteContext(ctx))
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use: "fleetwire", Short: "Run a Fleetwire service, and speak to one", Long: about,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			if cmd.GroupID != serving {
				go c.obeySecondInterrupt()
			}
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err, cmd.CommandPath()}
	})
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print one JSON object a line, as the service has it")
	root.PersistentFlags().StringVar(&c.context, "context", "", "the context `NAME` of the deployment to use; see \"fleetwire context list\"")
	_ = root.RegisterFlagCompletionFunc("context", func(cmd *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
		return c.completeContexts(cmd, nil, text)
	})
	root.Flags().Bool("version", false, "print which build this is") // pkg/program obeys it
	root.AddGroup(&cobra.Group{ID: serving, Title: "Run a service:"}, &cobra.Group{ID: "use", Title: "Speak to one:"}, &cobra.Group{ID: "keep", Title: "Look after one:"})
	in := func(group string, commands ...*cobra.Command) {
		for _, command := range commands {
			command.GroupID = group
			root.AddCommand(command)
		}
	}
	in(serving, c.devCommand(), c.serveCommand())
	in("use", c.tokenCommand(), c.pubCommand(), c.subCommand(), c.commandCommand(), c.peersCommand(), c.peerCommand(), c.kickCommand(), c.groupCommand())
	in("keep", c.usageCommand(), c.appsCommand(), c.contextCommand(), c.benchCommand(), c.doctorCommand())
	checkArguments(root)
	return root
}

// serving is the group of the commands that serve until they have drained.
const serving = "run"

// obeySecondInterrupt ends the program at the second Ctrl-C, also if it waits for something that the
// first one did not end, such as a reader of its output that stands still.
func (c *cli) obeySecondInterrupt() {
	<-c.Process.Hurry
	os.Exit(exitInterrupted)
}

// checkArguments has each command's check of its arguments count as usage, and say the usage.
func checkArguments(command *cobra.Command) {
	if check := command.Args; check != nil {
		command.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			switch {
			case err == nil:
				return nil
			case strings.Contains(cmd.Use, " ") || !cmd.HasSubCommands():
				err = fmt.Errorf("wrong number of arguments (%d); usage: %s", len(args), strings.TrimSuffix(cmd.UseLine(), " [flags]"))
			default:
				cmd.SuggestionsMinimumDistance = 2
				if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
					err = fmt.Errorf("%w; did you mean %s?", err, near[0])
				}
			}
			return usageError{err, cmd.CommandPath()}
		}
	}
	for _, sub := range command.Commands() {
		checkArguments(sub)
	}
}

// service is the deployment to speak to.
func (c *cli) service(ctx context.Context) (*client.REST, error) {
	chosen, err := contexts.Choose(ctx, contexts.Choice{
		Name: c.context, File: c.Contexts, Getenv: c.Getenv,
		Warn: func(text string) { _ = c.err.Line("warning: %s", show.Safe(text)) },
	})
	if err != nil {
		return nil, err
	}
	return &client.REST{BaseURL: chosen.URL, SecretKey: chosen.SecretKey}, nil
}

// isInterrupted tells whether a person has ended the command.
func isInterrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// terminal tells whether a person can be asked.
func (c *cli) terminal() bool {
	file, ok := c.In.(*os.File)
	return ok && show.IsTerminal(file)
}
