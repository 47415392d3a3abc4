package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"fleetwire/cli/internal/show"
	"fleetwire/clients/go/client"
)

func (c *cli) groupCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "group", Short: "Look at groups of ingesters, and deal with dead letters",
		Long: "A group keeps messages until an ingester acknowledges them. Its name is that in the apps document. Protocol §10.",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(c.groupShow(), c.groupPull(), c.groupDead(), c.groupRedrive(), c.groupDelete(), c.groupResume())
	return command
}

func groupPath(name, rest string) string { return "/groups/" + url.PathEscape(name) + rest }

// groupRequest makes one request about a group. It prints the answer as JSON, or has it printed.
func groupRequest[T any](ctx context.Context, c *cli, method, path string, body any, print func(*T) error) error {
	service, err := c.service(ctx)
	if err != nil {
		return err
	}
	var answer T
	raw, err := read(ctx, service, method, path, body, &answer)
	if err != nil {
		return err
	}
	if c.json {
		return c.out.JSON(raw)
	}
	return print(&answer)
}

func (c *cli) groupShow() *cobra.Command {
	return &cobra.Command{
		Use: "show GROUP", Short: "Show how many messages wait, and who takes them",
		Example: "  fleetwire group show ingest",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return groupRequest(cmd.Context(), c, http.MethodGet, groupPath(args[0], ""), nil, c.printGroup)
		},
	}
}

// groupState is what waits for a group.
type groupState struct {
	Group                                                                   string
	Lag, Pending, Dead, Bytes, OldestAgeMs, DroppedByAge, DroppedByOverflow int64
	Consumers                                                               []struct {
		Consumer string
		Pending  int64
	}
	Sink *sinkState // nil: it has none
}

func (c *cli) printGroup(g *groupState) error {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	err := c.out.Table([]string{"GROUP", "LAG", "PENDING", "DEAD", "SIZE", "OLDEST", "DROPPED"}, [][]string{{
		g.Group, number(g.Lag), number(g.Pending), number(g.Dead), show.Bytes(g.Bytes),
		show.Duration(time.Duration(g.OldestAgeMs) * time.Millisecond), number(g.DroppedByAge + g.DroppedByOverflow),
	}})
	if err != nil {
		return err
	}
	if err := c.printSink(g.Sink); err != nil || len(g.Consumers) == 0 {
		return err
	}
	var rows [][]string
	for _, consumer := range g.Consumers {
		rows = append(rows, []string{consumer.Consumer, number(consumer.Pending)})
	}
	return c.out.Table([]string{"CONSUMER", "PENDING"}, rows)
}

// sinkState is how a group's sink does (protocol §10.4).
type sinkState struct {
	Type, State, LastError                              string
	LastErrorAt, FailingSince, RetryAt, LastDeliveredAt client.Time
}

func (c *cli) printSink(s *sinkState) error {
	if s == nil {
		return nil
	}
	colour := map[string]show.Colour{"ok": show.Green, "failing": show.Yellow, "stopped": show.Red}[s.State]
	said := fmt.Sprintf("sink %s: %s, delivered last %s", s.Type, c.out.In(colour, s.State), show.Ago(c.Now(), s.LastDeliveredAt.Time))
	if s.State == "failing" {
		said += ", tries again in " + show.Duration(s.RetryAt.Sub(c.Now()))
	}
	if err := c.out.Line("%s", said); err != nil || s.LastError == "" {
		return err
	}
	return c.out.Line("last error, %s: %s", show.Ago(c.Now(), s.LastErrorAt.Time), show.Safe(s.LastError))
}

func (c *cli) groupResume() *cobra.Command {
	return &cobra.Command{
		Use: "resume GROUP", Short: "Have a sink that is stopped or failing try again at once",
		Example: "  fleetwire group resume crm",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return groupRequest(cmd.Context(), c, http.MethodPost, groupPath(args[0], "/resume"), map[string]any{}, func(*sinkState) error {
				return c.out.Line("the sink tries again")
			})
		},
	}
}

func (c *cli) groupPull() *cobra.Command {
	most, ack, wait := 10, false, time.Duration(0)
	command := &cobra.Command{
		Use: "pull GROUP", Short: "Take messages that wait, and print them",
		Long: `Takes messages of a group and prints them. With --ack they are acknowledged, and the service deletes them. Without it they are given back at once, for others:
the delivery counts (maxDeliver, §7).`,
		Example: "  fleetwire group pull ingest --max 5\n  fleetwire group pull ingest --ack --json >> events.ndjson",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if most < 1 || most > 500 {
				return usagef("group pull", "--max: %d is not 1 to 500", most)
			}
			if wait < 0 || wait > 20*time.Second {
				return usagef("group pull", "--wait: %v is not 0s to 20s", wait)
			}
			return c.pull(cmd.Context(), args[0], most, wait, ack)
		},
	}
	command.Flags().IntVar(&most, "max", most, "take at most `N` messages, 1 to 500")
	command.Flags().DurationVar(&wait, "wait", 0, "how long to wait for the first one, up to 20s")
	command.Flags().BoolVar(&ack, "ack", false, "acknowledge the messages after printing them")
	return command
}

// pulled is a message of a group.
type pulled struct {
	AckID, Channel, From string
	Data                 json.RawMessage
	PublishedAt          client.Time
	Attempt              int
}

func (c *cli) pull(ctx context.Context, group string, most int, wait time.Duration, ack bool) error {
	service, err := c.service(ctx)
	if err != nil {
		return err
	}
	body := map[string]any{"max": most, "waitMs": wait.Milliseconds(), "consumer": ownPeer}
	service.HTTPClient = patientHTTPClient(wait)
	var answer struct{ Messages []json.RawMessage }
	if _, err := read(ctx, service, http.MethodPost, groupPath(group, "/pull"), body, &answer); err != nil {
		return err
	}
	settle := map[string]any{}
	var acks []string
	var nacks []map[string]any
	for _, message := range answer.Messages {
		var m pulled
		if err = json.Unmarshal(message, &m); err != nil {
			break
		}
		if err = c.printPulled(message, m); err != nil {
			break // what is not printed is given back
		}
		if ack {
			acks = append(acks, m.AckID)
		}
	}
	for _, message := range answer.Messages[len(acks):] {
		var m pulled
		_ = json.Unmarshal(message, &m) // it was read above
		nacks = append(nacks, map[string]any{"ackId": m.AckID})
	}
	if len(acks) > 0 {
		settle["ackIds"] = acks
	}
	if len(nacks) > 0 {
		settle["nack"] = nacks
	}
	if len(settle) > 0 {
		if _, failed := service.Do(context.WithoutCancel(ctx), http.MethodPost, groupPath(group, "/ack"), settle); failed != nil {
			return failed
		}
	}
	return err
}

// requestTime is how long a request may take that does not wait.
const requestTime = 15 * time.Second

// patientHTTPClient gives a request that waits its time. Like the client's own, it follows no redirect,
// which would take the secret key to another place.
func patientHTTPClient(wait time.Duration) *http.Client {
	return &http.Client{
		Timeout:       wait + requestTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (c *cli) printPulled(raw json.RawMessage, m pulled) error {
	if c.json {
		return c.out.JSON(raw)
	}
	again := ""
	if m.Attempt > 1 {
		again = fmt.Sprintf(" attempt %d", m.Attempt)
	}
	return c.out.Line("%s %s %s%s %s", c.out.In(show.Faint, m.PublishedAt.Local().Format(time.TimeOnly)), show.Safe(m.Channel), c.out.In(show.Green, show.Safe(m.From)), c.out.In(show.Yellow, again), show.Data(m.Data))
}

func (c *cli) groupDead() *cobra.Command {
	limit := 100
	command := &cobra.Command{
		Use: "dead GROUP", Short: "List dead letters: messages that were delivered too often",
		Example: "  fleetwire group dead ingest",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("group dead", "--limit: %d is negative; give 1 or more, or 0 for all", limit)
			}
			return c.listDead(cmd.Context(), args[0], limit)
		},
	}
	command.Flags().IntVar(&limit, "limit", limit, "list at most `N`; 0 lists all")
	return command
}

func (c *cli) listDead(ctx context.Context, group string, limit int) error {
	service, err := c.service(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	query := url.Values{}
	for message, err := range entries(ctx, service, groupPath(group, "/dead"), "messages", query) {
		if err != nil {
			return err
		}
		if limit > 0 && len(rows) == limit {
			_ = c.err.Line("there are more than %d; --limit 0 lists all", limit)
			break
		}
		row, err := c.deadRow(message)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if c.json {
		return nil
	}
	return c.out.Table([]string{"ID", "CHANNEL", "DEAD", "ATTEMPTS", "REASON", "DATA"}, rows)
}

// deadRow is the row of a dead letter; with --json it prints it.
func (c *cli) deadRow(message json.RawMessage) ([]string, error) {
	var m struct {
		ID, Channel, Reason string
		Data                json.RawMessage
		DeadAt              client.Time
		Attempts            int
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return nil, err
	}
	row := []string{m.ID, m.Channel, show.Ago(c.Now(), m.DeadAt.Time), strconv.Itoa(m.Attempts), m.Reason, cut(show.Data(m.Data))}
	if c.json {
		return row, c.out.JSON(message)
	}
	return row, nil
}

func (c *cli) groupRedrive() *cobra.Command {
	all := false
	command := &cobra.Command{
		Use: "redrive GROUP [ID…]", Short: "Have dead letters delivered again",
		Example: "  fleetwire group redrive ingest --all",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			if len(args) > 1 {
				body["ids"] = args[1:]
			}
			if all == (len(args) > 1) {
				return usagef("group redrive", "name dead letters by their ids, or give --all")
			}
			return groupRequest(cmd.Context(), c, http.MethodPost, groupPath(args[0], "/redrive"), body, func(answer *struct{ Redriven int }) error {
				return c.out.Line("wait again: %d", answer.Redriven)
			})
		},
	}
	command.Flags().BoolVar(&all, "all", false, "all dead letters of the group")
	return command
}

func (c *cli) groupDelete() *cobra.Command {
	all := false
	command := &cobra.Command{
		Use: "delete-dead GROUP [ID]", Short: "Delete dead letters",
		Example: "  fleetwire group delete-dead ingest --all",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 1) {
				return usagef("group delete-dead", "name a dead letter by its id, or give --all")
			}
			path := groupPath(args[0], "/dead")
			if len(args) > 1 {
				path += "?" + url.Values{"id": {args[1]}}.Encode()
			}
			return groupRequest(cmd.Context(), c, http.MethodDelete, path, nil, func(answer *struct{ Deleted int }) error {
				return c.out.Line("deleted: %d", answer.Deleted)
			})
		},
	}
	command.Flags().BoolVar(&all, "all", false, "all dead letters of the group")
	return command
}
