package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fleetwire/cli/internal/show"
	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// subscribing is what sub has been asked for.
type subscribing struct {
	since    string
	last     int
	count    int
	presence bool
	metadata bool
}

func (c *cli) subCommand() *cobra.Command {
	s := &subscribing{}
	command := &cobra.Command{
		Use: "sub CHANNEL…", Short: "Print what is published to channels and patterns",
		Long: `Subscribes to channels, or to patterns such as 'devices/*/events', and prints their messages until it is interrupted.
It reconnects by itself. Protocol §2, §4.2; --last and --since: §9.1, for one channel that remembers.`,
		Example: `  fleetwire sub 'devices/*/events'
  fleetwire sub fleets/fleet-northeast/log --last 20
  fleetwire sub --json 'devices/**' | jq .data`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.subscribe(cmd.Context(), s, args) },
	}
	flags := command.Flags()
	flags.IntVar(&s.last, "last", 0, "begin with the newest `N` messages that the channel remembers, 1 to 1000")
	flags.StringVar(&s.since, "since", "", "begin after this `EPOCH:OFFSET` of a channel that remembers")
	flags.IntVar(&s.count, "count", 0, "exit after `N` messages")
	flags.BoolVar(&s.presence, "presence", false, "also print who joins and leaves")
	flags.BoolVar(&s.metadata, "metadata", false, "also print the metadata of senders")
	return command
}

// options are those of a subscription.
func (s *subscribing) options() (options []client.SubscribeOption, err error) {
	switch {
	case s.count < 0:
		return nil, usagef("sub", "--count: %d is negative; give 1 or more, or 0 not to end", s.count)
	case s.last < 0 || s.last > 1000:
		return nil, usagef("sub", "--last: %d is not 1 to 1000", s.last)
	case s.since != "" && s.last != 0:
		return nil, usagef("sub", "--since and --last cannot be together; give one")
	case s.since != "":
		at, err := position("sub", "since", s.since)
		if err != nil {
			return nil, err
		}
		options = append(options, client.Since(at))
	case s.last != 0:
		options = append(options, client.Last(s.last))
	}
	if s.metadata {
		options = append(options, client.WithSenderMetadata())
	}
	return options, nil
}

// position reads EPOCH:OFFSET.
func position(command, flag, text string) (client.Position, error) {
	epoch, offset, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(offset, 10, 64)
	if epoch == "" || err != nil || n > protocol.MaxOffset {
		return client.Position{}, usagef(command, "--%s: %q is not a position; give EPOCH:OFFSET, such as 6Hq2x0vW:41", flag, cut(text))
	}
	return client.Position{Epoch: epoch, Offset: n}, nil
}

// errEnough ends sub after --count messages.
var errEnough = errors.New("enough")

// ended tells whether a command that prints until it is interrupted ended as it should.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, errEnough) || isInterrupted(ctx, err) {
		return nil
	}
	return err
}

func (c *cli) subscribe(ctx context.Context, s *subscribing, channels []string) error {
	options, err := s.options()
	if err != nil {
		return err
	}
	until, end := context.WithCancelCause(ctx)
	defer end(nil)
	permissions := []string{"subscribe"}
	if s.presence {
		permissions = append(permissions, "presence")
		options = append(options, client.WithPresence(func(p client.Presence) {
			if err := c.printPresence(p); err != nil {
				end(err)
			}
		}))
	}
	connection, err := c.connect(until, client.TokenRequest{Peer: ownPeer, Channels: channels, Permissions: permissions})
	if err != nil {
		return ended(ctx, err)
	}
	defer connection.Close()
	printed := 0
	for _, channel := range channels {
		err := connection.Subscribe(until, channel, func(m client.Message) {
			if until.Err() != nil {
				return
			}
			if err := c.printMessage(m); err != nil {
				end(err)
			}
			if printed++; printed == s.count {
				end(errEnough)
			}
		}, options...)
		if err != nil && until.Err() == nil {
			return err
		}
	}
	return listen(ctx, until, connection)
}

// listen waits until one of the contexts ends, or the service will not have the connection any more.
func listen(ctx, until context.Context, connection *client.Client) error {
	select {
	case <-until.Done():
		return ended(ctx, context.Cause(until))
	case <-connection.Done():
		return connection.Err()
	}
}

// connect opens a connection with a token that it mints, and says on standard error when the
// connection is lost and back.
func (c *cli) connect(ctx context.Context, request client.TokenRequest) (*client.Client, error) {
	service, err := c.service(ctx)
	if err != nil {
		return nil, err
	}
	// A refusal of the first token is the command's, and not the connection's.
	token, _, err := service.MintToken(ctx, request)
	if err != nil {
		return nil, err
	}
	first := true
	return client.Dial(ctx, client.Options{
		URL: service.BaseURL,
		Token: func(ctx context.Context) (string, error) {
			if minted := token; minted != "" {
				token = ""
				return minted, nil
			}
			minted, _, err := service.MintToken(ctx, request)
			if refused, ok := errors.AsType[*client.Error](err); ok && (refused.Status == 401 || refused.Status == 403) {
				err = fmt.Errorf("%w: %w", client.ErrStop, err) // the key is gone, or may less now
			}
			return minted, err
		},
		OnError: func(err error) { _ = c.err.Line("%s", show.Safe(err.Error())) },
		OnGap: func(g client.Gap) {
			_ = c.err.Line("messages of %s behind offset %d are lost", show.Safe(g.Channel), g.After.Offset)
		},
		OnState: func(change client.Change) {
			switch {
			case change.State == client.Waiting:
				_ = c.err.Line("not connected: %s; retrying in %v", show.Safe(change.Err.Error()), change.RetryIn.Round(100*time.Millisecond))
			case change.State == client.Live && !first:
				_ = c.err.Line("connected again")
			case change.State == client.Live:
				first = false
			}
		},
	})
}

// ownPeer is the peer that commands connect as. It is one for all, so that the list of peers
// has one entry of them.
const ownPeer = "fleetwire-cli"

func (c *cli) printMessage(m client.Message) error {
	if c.json {
		return c.out.JSON(struct {
			Channel      string          `json:"channel"`
			From         string          `json:"from"`
			FromMetadata json.RawMessage `json:"fromMetadata,omitempty"`
			Data         json.RawMessage `json:"data"`
			Epoch        string          `json:"epoch,omitempty"`
			Offset       uint64          `json:"offset,omitempty"`
			Replayed     bool            `json:"replayed,omitempty"`
		}{m.Channel, m.From, m.SenderMetadata, m.Data, m.Position.Epoch, m.Position.Offset, m.Replayed})
	}
	marks := ""
	if m.Position.Offset > 0 {
		marks = fmt.Sprintf(" #%d", m.Position.Offset)
	}
	if m.Replayed {
		marks += " replayed"
	}
	from := show.Safe(m.From)
	if len(m.SenderMetadata) > 0 {
		from += " " + show.Data(m.SenderMetadata)
	}
	return c.out.Line("%s %s %s%s %s", c.out.In(show.Faint, c.Now().Format(time.TimeOnly)), show.Safe(m.Channel),
		c.out.In(show.Green, from), c.out.In(show.Faint, marks), show.Data(m.Data))
}

func (c *cli) printPresence(p client.Presence) error {
	for _, list := range []struct {
		word    string
		members []client.Member
	}{{"joined", p.Joined}, {"left", p.Left}} {
		for _, m := range list.members {
			var err error
			if c.json {
				err = c.out.JSON(struct {
					Channel  string          `json:"channel"`
					Presence string          `json:"presence"`
					Peer     string          `json:"peerId"`
					Metadata json.RawMessage `json:"metadata,omitempty"`
				}{p.Channel, list.word, m.Peer, m.Metadata})
			} else {
				err = c.out.Line("%s %s %s %s", c.out.In(show.Faint, c.Now().Format(time.TimeOnly)), show.Safe(p.Channel), c.out.In(show.Green, show.Safe(m.Peer)), c.out.In(show.Yellow, list.word))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
