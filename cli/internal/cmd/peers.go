package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"fleetwire/cli/internal/show"
	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/client"
)

// listing is which peers are asked for.
type listing struct {
	online, offline, watch bool
	unseenFor              time.Duration
	limit                  int
}

func (c *cli) peersCommand() *cobra.Command {
	l := &listing{}
	command := &cobra.Command{
		Use: "peers [PREFIX]", Short: "List the devices that the service knows",
		Long: `Lists the peers that the app knows, or those whose ids begin with PREFIX, sorted by id: which are online, since when, and why the
others went. With --watch it goes on, and prints who comes and goes. Protocol §5; --watch: §4.6.`,
		Example: "  fleetwire peers camera- --online\n  fleetwire peers --unseen-for 24h\n  fleetwire peers --watch",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix := ""
			if len(args) > 0 {
				prefix = args[0]
			}
			return c.listPeers(cmd.Context(), l, prefix)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&l.online, "online", false, "list only devices that are online")
	flags.BoolVar(&l.offline, "offline", false, "list only devices that are not online")
	flags.DurationVar(&l.unseenFor, "unseen-for", 0, "list only devices that were last seen this long ago or longer, such as 24h")
	flags.IntVar(&l.limit, "limit", 100, "list at most `N`; 0 lists all")
	flags.BoolVar(&l.watch, "watch", false, "go on, and print who comes and goes")
	return command
}

func (l *listing) query(prefix string, now time.Time) (client.PeerQuery, error) {
	q := client.PeerQuery{Prefix: prefix}
	switch {
	case l.online && l.offline:
		return q, usagef("peers", "--online and --offline cannot be together; leave both out for all")
	case l.online, l.offline:
		q.Online = &l.online
	}
	if l.unseenFor < 0 || l.limit < 0 {
		return q, usagef("peers", "--unseen-for and --limit must not be negative")
	}
	if l.unseenFor > 0 {
		q.SeenBefore = now.Add(-l.unseenFor)
	}
	return q, nil
}

func (c *cli) listPeers(ctx context.Context, l *listing, prefix string) error {
	query, err := l.query(prefix, c.Now())
	if err != nil {
		return err
	}
	service, err := c.service(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	more := false
	for p, err := range service.Peers(ctx, query) {
		if err != nil {
			return err
		}
		if more = l.limit > 0 && len(rows) == l.limit; more {
			break
		}
		rows = append(rows, c.peerRow(p))
		if c.json {
			if err := c.out.JSON(peerJSON(p)); err != nil {
				return err
			}
		}
	}
	if !c.json {
		if err := c.out.Table([]string{"PEER", "STATE", "SINCE", "LAST SEEN", "LAST DISCONNECT"}, rows); err != nil {
			return err
		}
	}
	if more {
		_ = c.err.Line("there are more than %d; --limit 0 lists all", l.limit)
	}
	if l.watch {
		return c.watchConnectivity(ctx, channel.ConnectivityPrefix+"**", prefix)
	}
	return nil
}

func (c *cli) peerRow(p client.Peer) []string {
	state, since, gone := "offline", "-", "-"
	if p.Online {
		state, since = "online", show.Ago(c.Now(), p.ConnectedAt.Time)
	}
	if d := p.LastDisconnect; d != nil {
		gone = fmt.Sprintf("%s %s (%d)", show.Ago(c.Now(), d.At.Time), d.Reason, d.Code)
	}
	return []string{p.ID, state, since, show.Ago(c.Now(), p.LastSeenAt.Time), gone}
}

func peerJSON(p client.Peer) any {
	type disconnect struct {
		At     client.Time `json:"at"`
		Code   int         `json:"code"`
		Reason string      `json:"reason"`
	}
	out := struct {
		ID             string          `json:"peerId"`
		Online         bool            `json:"online"`
		Epoch          uint64          `json:"epoch"`
		ConnectedAt    client.Time     `json:"connectedAt"`
		LastSeenAt     client.Time     `json:"lastSeenAt"`
		Metadata       json.RawMessage `json:"metadata,omitempty"`
		LastDisconnect *disconnect     `json:"lastDisconnect,omitempty"`
	}{ID: p.ID, Online: p.Online, Epoch: p.Epoch, ConnectedAt: p.ConnectedAt, LastSeenAt: p.LastSeenAt, Metadata: p.Metadata}
	if d := p.LastDisconnect; d != nil {
		out.LastDisconnect = &disconnect{d.At, int(d.Code), d.Reason}
	}
	return out
}

func (c *cli) peerCommand() *cobra.Command {
	watch := false
	command := &cobra.Command{
		Use: "peer PEER", Short: "Show one device, with its connections and subscriptions",
		Long:    "Shows what the service knows of a peer. With --watch it goes on, and prints when the peer comes and goes. Protocol §5; --watch: §4.6.",
		Example: "  fleetwire peer camera-001 --watch",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := channel.ConnectivityName(args[0])
			if watch && name == "" {
				return usagef("peer", "--watch: the id of the peer is so long that the service publishes nothing about it")
			}
			service, err := c.service(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.showPeer(cmd.Context(), service, args[0]); err != nil {
				return err
			}
			if watch {
				return c.watchConnectivity(cmd.Context(), name, "")
			}
			return nil
		},
	}
	command.Flags().BoolVar(&watch, "watch", false, "go on, and print when the peer comes and goes")
	return command
}

func (c *cli) showPeer(ctx context.Context, service *client.REST, id string) error {
	if c.json {
		raw, err := service.Do(ctx, http.MethodGet, "/peers/"+url.PathEscape(id), nil)
		if err != nil {
			return err
		}
		return c.out.JSON(raw)
	}
	p, err := service.Peer(ctx, id)
	if err != nil {
		return err
	}
	if err := c.out.Table([]string{"PEER", "STATE", "SINCE", "LAST SEEN", "LAST DISCONNECT"}, [][]string{c.peerRow(p)}); err != nil {
		return err
	}
	if len(p.Metadata) > 0 {
		if err := c.out.Line("metadata: %s", show.Data(p.Metadata)); err != nil {
			return err
		}
	}
	for _, connection := range p.Connections {
		from := ""
		if connection.Address != "" {
			from = fmt.Sprintf(", from %s, on node %s", connection.Address, connection.Node)
		}
		if connection.UserAgent != "" {
			from += ", with " + show.Safe(connection.UserAgent)
		}
		if err := c.out.Line("connection %s: %s, since %s%s", connection.ID, connection.Protocol, show.Ago(c.Now(), connection.ConnectedAt.Time), from); err != nil {
			return err
		}
		for _, subscription := range connection.Subscriptions {
			if err := c.out.Line("  subscribed to %s", show.Safe(subscription)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cli) kickCommand() *cobra.Command {
	revoke := false
	command := &cobra.Command{
		Use: "kick PEER", Short: "Disconnect a device, and revoke its tokens",
		Long: `Closes all connections of a peer, on every node, with 4020. A device with a token that is still good comes back, unless its client takes 4020 for final.
With --revoke the tokens that the peer has now are refused from now on. Protocol §5.`,
		Example: "  fleetwire kick camera-001 --revoke",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service, err := c.service(cmd.Context())
			if err != nil {
				return err
			}
			closed, err := service.Disconnect(cmd.Context(), args[0], revoke)
			if err != nil {
				return err
			}
			if c.json {
				return c.out.JSON(map[string]any{"peerId": args[0], "closed": closed})
			}
			return c.out.Line("closed connections: %d", closed)
		},
	}
	command.Flags().BoolVar(&revoke, "revoke", false, "refuse the tokens that the peer has now")
	return command
}
