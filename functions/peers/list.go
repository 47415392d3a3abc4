package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/presence"
)

// ListRoute is where the handler of [NewList] belongs.
var ListRoute = api.Route{Method: http.MethodGet, Path: "/v1/channels/{channel}/peers", Function: "peers"}

// Members reads a page of who is in a channel of an app: [presence.List].
type Members func(ctx context.Context, app, channelName, after string, limit int) (presence.Page, error)

// NewList makes the handler that says who is in a channel, on all nodes: what
// those hear who watch it. It takes the query parameters
//
//	limit    1–500 peers; default: 500
//	cursor   the cursor of the page before; default, and "": the first page
//
// and answers 200
//
//	{"channel":"…","peers":[{"peerId":"…","metadata"?}],"cursor"}
//
// sorted by peer id. Each peer that is subscribed by name is listed once. A page is
// at most 512 KiB, and may therefore hold fewer peers than its limit; the last is
// the one whose cursor is null. The key needs the action presence and a pattern
// that matches the channel. Without Redis it is 503 backend_error.
func NewList(c api.Config, members Members) *api.Endpoint {
	if members == nil {
		panic("peers.NewList: Members is required")
	}
	return api.New(c, ListRoute, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		q, err := readList(r, key)
		if err != nil {
			return err
		}
		page, err := members(r.Context(), key.App.ID, q.channel, q.after, q.limit)
		if err != nil {
			return fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "who is in the channel could not be read; try again"), err)
		}
		return api.WriteJSON(w, newListing(q.channel, page))
	})
}

type listing struct {
	Channel string   `json:"channel"`
	Peers   []listed `json:"peers"`
	Cursor  *string  `json:"cursor"`
}

type listed struct {
	PeerID   string          `json:"peerId"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

func newListing(name string, page presence.Page) listing {
	l := listing{Channel: name, Peers: make([]listed, len(page.Members))}
	for i, m := range page.Members {
		l.Peers[i].PeerID = m.Peer
		if m.Metadata != "" {
			l.Peers[i].Metadata = json.RawMessage(m.Metadata)
		}
	}
	if page.Next != "" {
		cursor := api.Cursor(page.Next)
		l.Cursor = &cursor
	}
	return l
}

type listQuery struct {
	channel, after string
	limit          int
}

// readList checks in the order of protocol §4.4: name → reserved → action →
// authorization.
func readList(r *http.Request, key *apps.Key) (q listQuery, err error) {
	name, err := api.Channel(r)
	if err != nil {
		return q, err
	}
	values, err := api.ReadQuery(r.URL.RawQuery, "limit", "cursor")
	if err != nil {
		return q, err
	}
	if q.limit, err = api.ReadLimit(values, presence.MaxPage, presence.MaxPage); err != nil {
		return q, err
	}
	if q.after, err = api.ReadCursor(values); err != nil {
		return q, err
	}
	if refused := auth.KeyGrant(key, "", nil).Check(apps.ActionPresence, name); refused != nil {
		return q, refused
	}
	q.channel = name
	return q, nil
}
