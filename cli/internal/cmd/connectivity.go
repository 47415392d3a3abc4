package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fleetwire/cli/internal/show"
	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// watchConnectivity prints who comes and goes (protocol §4.6), until it is interrupted.
func (c *cli) watchConnectivity(ctx context.Context, pattern, prefix string) error {
	until, end := context.WithCancelCause(ctx)
	defer end(nil)
	connection, err := c.connect(until, client.TokenRequest{
		Peer: ownPeer, Channels: []string{pattern}, Permissions: []string{"subscribe", "presence"},
	})
	if code := client.CodeOf(err); code == protocol.ChannelReserved || code == protocol.ChannelNotAuthorized || code == protocol.ActionNotPermitted {
		return fmt.Errorf("to watch who comes and goes, the key needs the pattern %s** and the actions subscribe and presence: %w", channel.ConnectivityPrefix, err)
	}
	if err != nil {
		return ended(ctx, err)
	}
	defer connection.Close()
	err = connection.Subscribe(until, pattern, func(m client.Message) {
		peer, ok := channel.ConnectivityPeer(m.Channel)
		if !ok || until.Err() != nil || !strings.HasPrefix(peer, prefix) {
			return
		}
		if err := c.printConnectivity(peer, m.Data); err != nil {
			end(err)
		}
	})
	if err != nil {
		return ended(ctx, err)
	}
	return listen(ctx, until, connection)
}

func (c *cli) printConnectivity(peer string, data json.RawMessage) error {
	if c.json {
		return c.out.JSON(struct {
			Peer string          `json:"peerId"`
			Data json.RawMessage `json:"data"`
		}{peer, data})
	}
	var event struct {
		Online bool
		Epoch  uint64
		At     client.Time
		Reason string
		Code   int
	}
	if err := json.Unmarshal(data, &event); err != nil {
		return fmt.Errorf("connectivity of %q: %w", peer, err)
	}
	at := c.out.In(show.Faint, event.At.Local().Format(time.TimeOnly))
	if event.Online {
		return c.out.Line("%s %s %s (epoch %d)", at, show.Safe(peer), c.out.In(show.Green, "online"), event.Epoch)
	}
	return c.out.Line("%s %s %s: %s (%d)", at, show.Safe(peer), c.out.In(show.Red, "offline"), show.Safe(event.Reason), event.Code)
}
