package cmd

import (
	"github.com/spf13/cobra"

	"fleetwire/cli/internal/contexts"
)

func (c *cli) contextCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "context", Short: "Remember deployments, and choose one",
		Long: `A context is a deployment: its URL, and where its secret key lies. The secret key itself is not stored, and never stands on a command line, where the
shell's history would keep it.`,
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(c.contextAdd(), c.contextList(), c.contextUse(), c.contextRemove())
	return command
}

// changeContexts changes what is remembered.
func (c *cli) changeContexts(change func(*contexts.Contexts) error) error {
	file, err := c.Contexts()
	if err != nil {
		return err
	}
	all, err := file.Read()
	if err != nil {
		return err
	}
	if err := change(&all); err != nil {
		return err
	}
	return file.Write(all)
}

func (c *cli) contextAdd() *cobra.Command {
	var added contexts.Context
	command := &cobra.Command{
		Use: "add NAME", Short: "Remember a deployment, or change what is remembered of it",
		Example: `  fleetwire context add prod --url https://fleet.example.com --secret-command 'pass show fleetwire/prod'
  fleetwire context add staging --url https://staging.example.com --secret-env STAGING_KEY`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			added.Name = args[0]
			if err := added.Check(); err != nil {
				return usageError{err, "fleetwire context add"}
			}
			err := c.changeContexts(func(all *contexts.Contexts) error { all.Set(added); return nil })
			if err != nil {
				return err
			}
			return c.out.Line("remembered %s; choose it with: fleetwire context use %s", added.Name, added.Name)
		},
	}
	flags := command.Flags()
	flags.StringVar(&added.URL, "url", "", "such as https://fleet.example.com")
	flags.StringVar(&added.SecretEnv, "secret-env", "", "the variable that has the secret key")
	flags.StringVar(&added.SecretFile, "secret-file", "", "the file that has the secret key")
	flags.StringVar(&added.SecretCommand, "secret-command", "", "a shell command that prints the secret key")
	return command
}

func (c *cli) contextList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the deployments that are remembered",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			file, err := c.Contexts()
			if err != nil {
				return err
			}
			all, err := file.Read()
			if err != nil {
				return err
			}
			var rows [][]string
			for _, one := range all.List {
				mark, from := "", "variable "+one.SecretEnv
				switch {
				case one.SecretFile != "":
					from = "file " + one.SecretFile
				case one.SecretCommand != "":
					from = "command " + one.SecretCommand
				}
				if one.Name == all.Current {
					mark = "*"
				}
				if c.json {
					if err := c.out.JSON(one); err != nil {
						return err
					}
				}
				rows = append(rows, []string{mark, one.Name, one.URL, from})
			}
			if c.json {
				return nil
			}
			return c.out.Table([]string{"", "NAME", "URL", "SECRET KEY FROM"}, rows)
		},
	}
}

func (c *cli) contextUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Choose the deployment that commands speak to",
		Args: cobra.ExactArgs(1), ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return c.changeContexts(func(all *contexts.Contexts) error {
				if _, err := all.Find(args[0]); err != nil {
					return err
				}
				all.Current = args[0]
				return nil
			})
		},
	}
}

func (c *cli) contextRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a deployment",
		Args: cobra.ExactArgs(1), ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return c.changeContexts(func(all *contexts.Contexts) error { return all.Remove(args[0]) })
		},
	}
}

// completeContexts completes the names of contexts.
func (c *cli) completeContexts(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	file, err := c.Contexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := file.Read()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	for _, one := range all.List {
		names = append(names, one.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
