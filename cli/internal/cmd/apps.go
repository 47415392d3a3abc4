package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"fleetwire/cli/internal/appsfile"
	"fleetwire/cli/internal/show"
	"fleetwire/pkg/apps"
)

func (c *cli) appsCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "apps", Short: "Check an apps document, and change its keys",
		Long: `The apps document says which apps and keys there are. Nodes read it again while they run, so keys are added and revoked without a restart. Protocol §7.
Each change shows what differs, is checked whole, and replaces the file at once. A new secret is printed once; no other one is.`,
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(c.appsCheck(), c.appsInit(), c.appsKeys(), c.appsAddKey(), c.appsRotateKey(), c.appsRevokeKey())
	return command
}

func (c *cli) appsCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Say what is wrong with a document; exits with 5 if anything is",
		Example: "  fleetwire apps check apps.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			document, err := appsfile.Open(args[0])
			if wrong, ok := errors.AsType[*appsfile.Wrong](err); ok {
				return notDone(wrong.Error())
			}
			if err != nil {
				return err
			}
			keys := 0
			for _, app := range document.Apps() {
				keys += len(app.Keys)
			}
			warnings := document.Warnings()
			if exposed := apps.Exposed(args[0]); exposed != "" {
				warnings = append(warnings, exposed)
			}
			if c.json {
				return c.out.JSON(map[string]any{"apps": len(document.Apps()), "keys": keys, "warnings": append([]string{}, warnings...)})
			}
			for _, warning := range warnings {
				_ = c.err.Line("warning: %s", warning)
			}
			return c.out.Line("%s is right; apps: %d, keys: %d", args[0], len(document.Apps()), keys)
		},
	}
}

// scope is what a new key may do.
type scope struct {
	app, role                  string
	patterns, actions, origins []string
	publishable                bool
	dryRun                     bool
}

func (s *scope) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringSliceVar(&s.patterns, "pattern", nil, "a channel pattern that the key covers, such as 'devices/**'; repeat the flag, or separate with commas")
	flags.StringSliceVar(&s.actions, "action", nil, "publish, subscribe, presence or send; repeat the flag, or separate with commas (default: all; of a publishable key: subscribe)")
	flags.StringVar(&s.role, "role", "", "viewer: the key only reads over REST, and its tokens are refused (full: all that its actions allow)")
	flags.BoolVar(&s.publishable, "publishable", false, "make a key without a secret, for web pages")
	flags.StringSliceVar(&s.origins, "origin", nil, "a web page that may connect with the key, such as https://www.example.com (all)")
}

// key makes the key.
func (s *scope) key(command string) (appsfile.Key, error) {
	if len(s.patterns) == 0 {
		return appsfile.Key{}, usagef(command, "--pattern is missing; give what the key covers, such as --pattern 'devices/**'")
	}
	if _, ok := apps.ParseRole(s.role); s.role != "" && !ok {
		return appsfile.Key{}, usagef(command, "--role: %q is not a role; give viewer, or full", cut(s.role))
	}
	if s.publishable && s.role != "" {
		return appsfile.Key{}, usagef(command, "--publishable and --role do not go together: a publishable key has no role")
	}
	actions := apps.AllActions.List()
	if s.publishable {
		actions = []apps.Action{apps.ActionSubscribe}
	}
	if len(s.actions) > 0 {
		actions = nil
	}
	for _, name := range s.actions {
		action, ok := apps.ParseAction(name)
		if !ok {
			return appsfile.Key{}, usagef(command, "--action: %q is not an action; give publish, subscribe, presence or send", cut(name))
		}
		actions = append(actions, action)
	}
	return appsfile.Key{Patterns: s.patterns, Actions: actions, Role: s.role, AllowedOrigins: s.origins}.Named(s.publishable), nil
}

func (c *cli) appsInit() *cobra.Command {
	s := &scope{}
	command := &cobra.Command{
		Use: "init FILE", Short: "Make a document with one app and one key",
		Example: "  fleetwire apps init apps.json --app fleet --pattern 'devices/**' --pattern 'fleets/**'",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := s.key("apps init")
			if err != nil {
				return err
			}
			text, err := appsfile.Init(s.app, key)
			if err != nil {
				return err
			}
			document, err := appsfile.New(args[0], text)
			if err != nil {
				return err
			}
			if err := document.Write(); err != nil {
				return err
			}
			return c.tellKey(document, key.ID)
		},
	}
	command.Flags().StringVar(&s.app, "app", "app", "the id of the app")
	s.flags(command)
	return command
}

func (c *cli) appsKeys() *cobra.Command {
	return &cobra.Command{
		Use: "keys FILE", Short: "List the keys of a document, without their secrets",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			document, err := appsfile.Open(args[0])
			if err != nil {
				return err
			}
			var rows [][]string
			for _, app := range document.Apps() {
				for _, key := range app.Keys {
					kind, role, patterns, actions := "secret", key.Role.String(), []string{}, []string{}
					if key.Publishable() {
						kind, role = "publishable", ""
					}
					for _, p := range key.Patterns {
						patterns = append(patterns, p.String())
					}
					for _, a := range key.Actions.List() {
						actions = append(actions, string(a))
					}
					rows = append(rows, []string{app.ID, key.ID, kind, role, strings.Join(patterns, " "), strings.Join(actions, " ")})
					if !c.json {
						continue
					}
					if err := c.out.JSON(map[string]any{"app": app.ID, "id": key.ID, "kind": kind, "role": role, "channelPatterns": patterns, "actions": actions}); err != nil {
						return err
					}
				}
			}
			if c.json {
				return nil
			}
			return c.out.Table([]string{"APP", "KEY", "KIND", "ROLE", "PATTERNS", "ACTIONS"}, rows)
		},
	}
}

func (c *cli) appsAddKey() *cobra.Command {
	s := &scope{}
	command := &cobra.Command{
		Use: "add-key FILE", Short: "Add a key",
		Example: "  fleetwire apps add-key apps.json --pattern 'devices/*/events' --action subscribe",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := s.key("apps add-key")
			if err != nil {
				return err
			}
			return c.changeApps(args[0], s.dryRun, func(d *appsfile.Document) (*appsfile.Document, string, error) {
				next, err := d.AddKey(s.app, key)
				return next, key.ID, err
			})
		},
	}
	command.Flags().StringVar(&s.app, "app", "", "the app that gets the key (the only one)")
	s.flags(command)
	dryRunFlag(command, &s.dryRun)
	return command
}

func dryRunFlag(command *cobra.Command, dryRun *bool) {
	command.Flags().BoolVar(dryRun, "dry-run", false, "show what would differ, and write nothing")
}

func (c *cli) appsRotateKey() *cobra.Command {
	dryRun := false
	command := &cobra.Command{
		Use: "rotate-key FILE KEY", Short: "Add a key that may do what another one may",
		Long: `Adds a key with the patterns and actions of KEY. Both are good then: have your programs use the new one, and revoke the old one
with "fleetwire apps revoke-key".`,
		Example: "  fleetwire apps rotate-key apps.json sk_live_3f1c…",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.changeApps(args[0], dryRun, func(d *appsfile.Document) (*appsfile.Document, string, error) { return d.RotateKey(args[1]) })
		},
	}
	dryRunFlag(command, &dryRun)
	return command
}

func (c *cli) appsRevokeKey() *cobra.Command {
	dryRun, yes := false, false
	command := &cobra.Command{
		Use: "revoke-key FILE KEY", Short: "Remove a key: what uses it is disconnected",
		Long: `Removes a key. Within a minute nodes close the connections whose tokens it signed, with 4002, and refuse requests with it. It asks before it does so on a
terminal; elsewhere it needs --yes.`,
		Example: "  fleetwire apps revoke-key apps.json sk_live_3f1c… --yes",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			document, err := appsfile.Open(args[0])
			if err != nil {
				return err
			}
			next, err := document.RevokeKey(args[1])
			if err != nil {
				return err
			}
			if err := c.showDiff(document, next); err != nil {
				return err
			}
			if dryRun {
				return nil
			}
			if !yes {
				if err := c.confirm(cmd.Context(), "remove the key "+args[1]); err != nil {
					return err
				}
			}
			return next.Write()
		},
	}
	dryRunFlag(command, &dryRun)
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return command
}

// confirm asks a person; without one the answer is no.
func (c *cli) confirm(ctx context.Context, what string) error {
	no := notDone("nothing is changed; give --yes to " + what)
	if !c.terminal() {
		return no
	}
	fmt.Fprintf(c.Err, "%s? [y/N] ", show.Safe(what))
	answer, err := readAnswer(ctx, c.In)
	switch {
	case err != nil:
		fmt.Fprintln(c.Err)
		return err
	case answer == "y" || answer == "yes":
		return nil
	}
	return no
}

// readAnswer reads a line, unless the command is interrupted before, which does not end the reading.
func readAnswer(ctx context.Context, in io.Reader) (string, error) {
	answers := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(in).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case answer := <-answers:
		return answer, nil
	}
}

// changeApps changes a document, and tells what its new key is.
func (c *cli) changeApps(path string, dryRun bool, change func(*appsfile.Document) (*appsfile.Document, string, error)) error {
	document, err := appsfile.Open(path)
	if err != nil {
		return err
	}
	next, key, err := change(document)
	if err != nil {
		return err
	}
	if err := c.showDiff(document, next); err != nil {
		return err
	}
	if dryRun {
		return nil
	}
	if err := next.Write(); err != nil {
		return err
	}
	return c.tellKey(next, key)
}

// showDiff shows on standard error what a change does.
func (c *cli) showDiff(before, after *appsfile.Document) error {
	for line := range strings.Lines(appsfile.Diff(before, after)) {
		line = show.Safe(strings.TrimSuffix(line, "\n"))
		switch {
		case strings.HasPrefix(line, "+"):
			line = c.err.In(show.Green, line)
		case strings.HasPrefix(line, "-"):
			line = c.err.In(show.Red, line)
		}
		if err := c.err.Line("%s", line); err != nil {
			return err
		}
	}
	return nil
}

// tellKey prints a new key, the only time that its secret is shown.
func (c *cli) tellKey(document *appsfile.Document, id string) error {
	key, ok := document.Key(id)
	if !ok {
		return fmt.Errorf("the document has no key %s", id)
	}
	credential := key.ID
	if !key.Publishable() {
		credential = key.Credential()
	}
	if c.json {
		return c.out.JSON(map[string]any{"id": key.ID, "credential": credential})
	}
	return c.out.Line("%s", credential)
}
