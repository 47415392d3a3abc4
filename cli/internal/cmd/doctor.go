package cmd

import (
	"context"
	"log/slog"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"fleetwire/cli/internal/doctor"
	"fleetwire/cli/internal/show"
	"fleetwire/fanout/node"
	"fleetwire/pkg/rediskeys"
)

func (c *cli) doctorCommand() *cobra.Command {
	var ops, prefix string
	command := &cobra.Command{
		Use: "doctor", Short: "Examine a deployment, and say what to do",
		Long: `Makes a request and a connection, through the proxies that devices come through, and compares clocks. With FLEETWIRE_REDIS_URL it looks at Redis, with
--ops at a node. It exits with 5 if it finds a fault; warnings do not count.`,
		Example: "  fleetwire doctor --context prod\n  FLEETWIRE_REDIS_URL=redis://127.0.0.1:6379 fleetwire doctor --ops http://127.0.0.1:8081",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			u, err := url.Parse(ops)
			if ops != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
				return usagef("doctor", "--ops: %q is not a URL; give one such as http://127.0.0.1:8081", cut(ops))
			}
			return c.examine(cmd.Context(), strings.TrimRight(ops, "/"), prefix)
		},
	}
	command.Flags().StringVar(&ops, "ops", "", "a node's operations address, such as http://127.0.0.1:8081")
	command.Flags().StringVar(&prefix, "redis-prefix", rediskeys.DefaultPrefix, "as the nodes have it")
	return command
}

func (c *cli) examine(ctx context.Context, ops, prefix string) error {
	service, err := c.service(ctx)
	if err != nil {
		return err
	}
	faults := false
	tell := func(f doctor.Finding) error {
		faults = faults || f.Result == doctor.Fault
		return c.printFinding(f)
	}
	rdb, err := c.openRedis(ctx, prefix)
	if err != nil {
		if err := tell(doctor.Finding{Check: "Redis", Result: doctor.Fault, Found: err.Error(), Todo: "nodes do not start with this URL either: mend it first"}); err != nil {
			return err
		}
	}
	if rdb != nil {
		defer func() { _ = rdb.Close() }()
	}
	d := &doctor.Doctor{Service: service, Redis: rdb, NoRedis: err != nil, Ops: ops, Now: c.Now, Tell: tell}
	if err := d.Run(ctx); err != nil {
		return err
	}
	if faults {
		return notDone("")
	}
	return nil
}

// openRedis opens Redis as a node does, which tries its version and the rights of its user; nil:
// no URL is given.
func (c *cli) openRedis(ctx context.Context, prefix string) (redis.UniversalClient, error) {
	address := c.Getenv("FLEETWIRE_REDIS_URL")
	if address == "" {
		return nil, nil
	}
	rdb, _, err := node.OpenRedis(ctx, node.RedisOptions{URL: address, Prefix: prefix, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return rdb, nil
}

func (c *cli) printFinding(f doctor.Finding) error {
	if c.json {
		return c.out.JSON(f)
	}
	colour := map[doctor.Verdict]show.Colour{doctor.OK: show.Green, doctor.Warning: show.Yellow, doctor.Fault: show.Red, doctor.Skipped: show.Faint}[f.Result]
	if err := c.out.Line("%s %s: %s", c.out.In(colour, pad(string(f.Result))), f.Check, show.Safe(f.Found)); err != nil {
		return err
	}
	if f.Todo == "" {
		return nil
	}
	return c.out.Line("%s → %s", pad(""), f.Todo)
}

// pad brings verdicts to one width.
func pad(text string) string {
	const width = len(doctor.Warning)
	for len(text) < width {
		text += " "
	}
	return text
}
