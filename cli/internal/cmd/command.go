package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/sjson"

	"fleetwire/cli/internal/show"
	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// look is how often a command's progress is shown while it goes on.
const look = time.Second

// commanding is what command has been asked for.
type commanding struct {
	client.CommandOptions
	wait    time.Duration
	rollout client.Rollout
	abort   client.Abort
	text    bool
}

func (c *cli) commandCommand() *cobra.Command {
	o := &commanding{}
	command := &cobra.Command{
		Use: "command CHANNEL DATA", Short: "Send a command to devices, and show their answers",
		Long: `Sends a command to the devices that are subscribed to the channel by name, waits for its end, and shows what each has answered. It exits with 5
if the command ends in another way than succeeded, or has not ended when the wait is over. It goes on then, as it does with --wait 0s: see "fleetwire command show". Protocol §8.`,
		Example: `  fleetwire command devices/camera-001/commands '{"cmd":"reboot"}'
  fleetwire command fleets/fleet-northeast/commands '{"cmd":"update"}' --expect 1000 --ttl 24h --per-minute 60 --abort-failed-pct 10 --wait 2h`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return c.sendCommand(cmd, o, args[0], args[1]) },
	}
	command.AddCommand(c.commandShow(), c.commandList(), c.commandCancel())
	flags := command.Flags()
	flags.DurationVar(&o.wait, "wait", 40*time.Second, "how long to wait for the end; 0s does not wait")
	flags.DurationVar(&o.TTL, "ttl", 0, "how long devices that are away may still get it, up to 168h; 0s: only devices that are connected get it")
	flags.DurationVar(&o.Timeout, "timeout", 30*time.Second, "within which a device has to answer, 1s to 24h")
	flags.IntVar(&o.Expect, "expect", 0, "how many devices have to end; 0: those that are subscribed now")
	flags.StringVar(&o.From, "from", "", "who the command says it is from (\"server\" if it is left out)")
	flags.StringVar(&o.IdempotencyKey, "idempotency-key", "", "send one command, however often this is run with the key")
	flags.StringVar(&o.CollapseKey, "collapse-key", "", "stop handing over earlier commands of the channel with the same key")
	flags.StringVar(&o.Notify, "notify", "", "a channel that hears how the command goes on")
	flags.IntVar(&o.rollout.PerMinute, "per-minute", 0, "hand over to `N` devices a minute; needs --ttl")
	flags.IntVar(&o.abort.FailedPct, "abort-failed-pct", 0, "with --per-minute: stop when `N` percent have failed")
	flags.IntVar(&o.abort.MinAnswered, "abort-min-answered", 0, "with --abort-failed-pct: but not before `N` devices have ended")
	flags.BoolVar(&o.text, "text", false, "DATA is a text, not JSON")
	return command
}

// complete checks what depends on other flags.
func (o *commanding) complete() error {
	switch {
	case o.abort.FailedPct != 0 && o.rollout.PerMinute == 0:
		return usagef("command", "--abort-failed-pct needs --per-minute beside it")
	case o.abort.MinAnswered != 0 && o.abort.FailedPct == 0:
		return usagef("command", "--abort-min-answered needs --abort-failed-pct beside it")
	case o.rollout.PerMinute != 0 && o.TTL == 0:
		return usagef("command", "--per-minute needs --ttl beside it, such as --ttl 24h")
	case o.wait < 0:
		return usagef("command", "--wait: %v is negative; give a duration such as 40s, or 0s not to wait", o.wait)
	}
	if o.rollout.PerMinute != 0 {
		o.Rollout = &o.rollout
	}
	if o.abort.FailedPct != 0 {
		o.rollout.Abort = &o.abort
	}
	return nil
}

func (c *cli) sendCommand(cmd *cobra.Command, o *commanding, channel, text string) error {
	if err := o.complete(); err != nil {
		return err
	}
	data, err := (&publishing{text: o.text}).data(text)
	if err != nil {
		return err
	}
	service, err := c.service(cmd.Context())
	if err != nil {
		return err
	}
	command, err := service.StartCommand(cmd.Context(), channel, data, o.CommandOptions)
	if client.CodeOf(err) == protocol.NobodySubscribed { // the service's words are about ttlMs, which is no flag
		return &exit{exitRefused, fmt.Sprintf("nobody is subscribed to %s by name, so nothing was sent (nobody_subscribed); to have the command wait for devices that are away, give --ttl, such as --ttl 10m", channel)}
	}
	if err != nil {
		return err
	}
	return c.follow(cmd.Context(), service, command, o.wait)
}

// follow shows the progress of a command until it has ended, or the wait is over.
func (c *cli) follow(ctx context.Context, service *client.REST, command client.Command, wait time.Duration) error {
	command, err := c.untilEnded(ctx, service, command, c.Now().Add(wait))
	c.out.Redraw("")
	if err == nil {
		err = c.showCommand(ctx, service, command)
	}
	if err != nil {
		if !command.Ended() {
			_ = c.err.Line("the command goes on: fleetwire command show %s", show.Safe(command.ID))
		}
		return err
	}
	switch {
	case command.Status == "succeeded", wait == 0:
		return nil
	case command.Ended():
		return notDone("")
	}
	return notDone("the command has not ended, and goes on: fleetwire command show " + command.ID)
}

// untilEnded reads a command again and again, also while the service restarts or is busy. It
// returns the command as it was read last.
func (c *cli) untilEnded(ctx context.Context, service *client.REST, command client.Command, deadline time.Time) (client.Command, error) {
	troubled := false
	for !command.Ended() && c.Now().Before(deadline) {
		c.out.Redraw(progress(&command))
		began := c.Now()
		next, err := c.lookAt(ctx, service, command.ID, min(look, deadline.Sub(began)))
		rest := look - c.Now().Sub(began) // a service that drains, or has many who wait, answers at once
		switch {
		case err == nil:
			command, troubled = next, false
		case !mayPass(err):
			return command, err
		default:
			rest = retryAfter(err)
			if !troubled {
				c.out.Redraw("")
				_ = c.err.Line("retrying: %s", show.Safe(c.exitOf(ctx, err).text))
				troubled = true
			}
		}
		if rest = min(rest, deadline.Sub(c.Now())); command.Ended() || rest <= 0 {
			continue
		}
		if err := sleep(ctx, rest); err != nil {
			return command, err
		}
	}
	return command, nil
}

// lookAt reads a command when it has ended, or after a while.
func (c *cli) lookAt(ctx context.Context, service *client.REST, id string, wait time.Duration) (command client.Command, err error) {
	_, err = read(ctx, service, http.MethodGet, fmt.Sprintf("/commands/%s?waitMs=%d", url.PathEscape(id), max(0, wait.Milliseconds())), nil, &command)
	return command, err
}

// progress is one line about a command that goes on.
func progress(command *client.Command) string {
	n := command.Counts
	ended := n.Succeeded + n.Failed + n.Rejected + n.TimedOut
	return fmt.Sprintf("%s %d of %d ended · %s", show.Bar(ended, command.Expect, 30), ended, command.Expect, counts(n))
}

// counts are the counts that are not 0.
func counts(n client.CommandCounts) string {
	var parts []string
	for _, part := range []struct {
		n    int
		word string
	}{
		{n.Sent, "sent"}, {n.Received, "received"}, {n.Running, "running"}, {n.Succeeded, "succeeded"},
		{n.Failed, "failed"}, {n.Rejected, "rejected"}, {n.TimedOut, "timed out"}, {n.Missing, "missing"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.word))
		}
	}
	if len(parts) == 0 {
		return "not handed over yet"
	}
	return strings.Join(parts, ", ")
}

// showCommand prints a command and its answers.
func (c *cli) showCommand(ctx context.Context, service *client.REST, command client.Command) error {
	if c.json {
		raw, err := commandJSON(ctx, service, command.ID)
		if err != nil {
			return err
		}
		return c.out.JSON(raw)
	}
	if err := c.out.Line("%s on %s: %s (%s)", command.ID, show.Safe(command.Channel), c.statusText(command.Status), counts(command.Counts)); err != nil {
		return err
	}
	var rows [][]string
	for answer, err := range service.Answers(ctx, command.ID, "") {
		if err != nil {
			return err
		}
		took := "-"
		if !answer.AnsweredAt.IsZero() {
			took = answer.AnsweredAt.Sub(answer.SentAt.Time).String()
		}
		rows = append(rows, []string{answer.Peer, answer.Status, took, show.Data(answer.Data)})
	}
	if len(rows) == 0 {
		return nil
	}
	return c.out.Table([]string{"PEER", "STATUS", "TOOK", "ANSWER"}, rows)
}

// commandJSON is a command as the service has it, but with the answers of all devices, where the
// service gives the first 20.
func commandJSON(ctx context.Context, service *client.REST, id string) (json.RawMessage, error) {
	path := "/commands/" + url.PathEscape(id)
	var first struct{ More bool }
	raw, err := read(ctx, service, http.MethodGet, path, nil, &first)
	if err != nil || !first.More {
		return raw, err
	}
	var all []json.RawMessage
	for answer, err := range entries(ctx, service, path+"/answers", "answers", url.Values{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, answer)
	}
	answers, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	if raw, err = sjson.SetRawBytes(raw, "answers", answers); err != nil {
		return nil, err
	}
	return sjson.DeleteBytes(raw, "more")
}

func (c *cli) statusText(status string) string {
	colour := show.Red
	switch status {
	case "succeeded":
		colour = show.Green
	case "waiting", "active":
		colour = show.Yellow
	}
	return c.out.In(colour, status)
}

func (c *cli) commandShow() *cobra.Command {
	wait := time.Duration(0)
	command := &cobra.Command{
		Use: "show ID", Short: "Show a command and its answers",
		Long:    "Shows how far a command is, and what each device has answered. With --wait it waits for the end first, and exits with 5 if that is another one than succeeded.",
		Example: "  fleetwire command show cmd_227fuwwcdqqahkyeahwtkqoflbcje --wait 10m",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service, err := c.service(cmd.Context())
			if err != nil {
				return err
			}
			command, err := c.lookAt(cmd.Context(), service, args[0], 0)
			if err != nil {
				return err
			}
			if wait > 0 {
				return c.follow(cmd.Context(), service, command, wait)
			}
			return c.showCommand(cmd.Context(), service, command)
		},
	}
	command.Flags().DurationVar(&wait, "wait", 0, "how long to wait for the end")
	return command
}

func (c *cli) commandList() *cobra.Command {
	var status string
	limit := 20
	command := &cobra.Command{
		Use: "list CHANNEL", Short: "List the commands of a channel, newest first",
		Example: "  fleetwire command list devices/camera-001/commands --status failed",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("command list", "--limit: %d is negative; give 1 or more, or 0 for all", limit)
			}
			return c.listCommands(cmd.Context(), args[0], status, limit)
		},
	}
	command.Flags().StringVar(&status, "status", "", "those in this state: waiting, active, succeeded, failed, timed_out, mixed, …")
	command.Flags().IntVar(&limit, "limit", limit, "list at most `N`; 0 lists all")
	return command
}

func (c *cli) listCommands(ctx context.Context, channel, status string, limit int) error {
	service, err := c.service(ctx)
	if err != nil {
		return err
	}
	query := url.Values{}
	if status != "" {
		query.Set("status", status)
	}
	path := "/channels/" + url.PathEscape(channel) + "/commands"
	var rows [][]string
	for raw, err := range entries(ctx, service, path, "commands", query) {
		if err != nil {
			return err
		}
		if limit > 0 && len(rows) == limit {
			_ = c.err.Line("there are more than %d; --limit 0 lists all", limit)
			break
		}
		var command client.Command
		if json.Unmarshal(raw, &command) != nil {
			return notService(http.MethodGet, path)
		}
		rows = append(rows, []string{command.ID, command.Status, show.Ago(c.Now(), command.CreatedAt.Time), counts(command.Counts), cut(show.Data(command.Data))})
		if c.json {
			if err := c.out.JSON(raw); err != nil {
				return err
			}
		}
	}
	if c.json {
		return nil
	}
	return c.out.Table([]string{"ID", "STATUS", "SENT", "DEVICES", "DATA"}, rows)
}

func (c *cli) commandCancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel ID", Short: "Cancel a command: no further device gets it",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service, err := c.service(cmd.Context())
			if err != nil {
				return err
			}
			command, err := service.CancelCommand(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.showCommand(cmd.Context(), service, command)
		},
	}
}
