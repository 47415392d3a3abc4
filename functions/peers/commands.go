package peers

import (
	"context"
	"net/http"
	"strconv"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/command"
)

// CommandsRoute is where the handler of [NewCommands] belongs.
var CommandsRoute = api.Route{Method: http.MethodGet, Path: "/v1/peers/{peer}/commands", Function: "peers"}

// usualCommands and mostCommands bound the entries of a page.
const (
	usualCommands = 100
	mostCommands  = 500
)

// Commands knows what peers were handed: [command.Service].
type Commands interface {
	OfPeer(ctx context.Context, app, peer, after string, limit int, shown func(channel string) bool) (command.OfPeerPage, error)
}

// NewCommands makes the handler that lists the commands that a peer was handed, newest first. It
// takes the query parameters
//
//	limit    1–500 commands; default: 100
//	cursor   the cursor of the page before; default, and "": the first page
//
// and answers 200 {"commands":[…],"cursor"}. Each entry has the command, and the peer's answer. The
// key needs the action publish, as for every look at commands; commands of channels that its
// patterns do not match are left out. A page is at most 512 KiB, and may hold fewer commands than
// its limit; the last is the one whose cursor is null. Of a peer that was handed none, or that is
// not known, the list is empty. Without Redis it is 503 backend_error.
func NewCommands(c api.Config, commands Commands) *api.Endpoint {
	if commands == nil {
		panic("peers.NewCommands: Commands is required")
	}
	return api.New(c, CommandsRoute, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		peer, err := readPeer(r)
		if err != nil {
			return err
		}
		values, err := api.ReadQuery(r.URL.RawQuery, "limit", "cursor")
		if err != nil {
			return err
		}
		limit, err := api.ReadLimit(values, usualCommands, mostCommands)
		if err != nil {
			return err
		}
		after, err := api.ReadCursor(values)
		if err != nil {
			return err
		}
		if !key.Actions.Has(apps.ActionPublish) {
			return auth.NotPermitted(apps.ActionPublish)
		}
		grant := auth.KeyGrant(key, "", nil)
		page, err := commands.OfPeer(r.Context(), key.App.ID, peer, after, limit, func(channel string) bool {
			return grant.Check(apps.ActionPublish, channel) == nil
		})
		if err != nil {
			return command.Explain(err)
		}
		api.Write(w, http.StatusOK, appendCommands(nil, &page))
		return nil
	})
}

// appendCommands is written by hand, because data goes out byte for byte.
func appendCommands(b []byte, p *command.OfPeerPage) []byte {
	b = append(b, `{"commands":[`...)
	for i, one := range p.Commands {
		if i > 0 {
			b = append(b, ',')
		}
		c := one.Command
		b = protocol.AppendString(append(b, `{"id":`...), c.ID)
		b = protocol.AppendString(append(b, `,"channel":`...), c.Channel)
		b = append(append(b, `,"data":`...), c.Data...)
		b = protocol.AppendString(append(b, `,"from":`...), c.From)
		b = protocol.AppendString(append(b, `,"status":`...), string(c.Status))
		b = strconv.AppendInt(append(b, `,"createdAt":`...), c.CreatedAt, 10)
		b = command.AppendAnswer(append(b, `,"answer":`...), one.Answer)
		b = append(b, '}')
	}
	b = append(b, `],"cursor":`...)
	if p.Next == "" {
		return append(b, "null}"...)
	}
	return append(protocol.AppendString(b, api.Cursor(p.Next)), '}')
}
