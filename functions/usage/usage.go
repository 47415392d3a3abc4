// Package usage serves GET /v1/usage, /v1/usage/channels and /v1/usage/peers
// (protocol §5): what an app has used of its plan in the running period, and
// which channel and which peer cost what. Any secret key of the app may read
// all of it.
package usage

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/usage"
)

// Where the handler of [New] belongs.
var (
	Route         = api.Route{Method: http.MethodGet, Path: "/v1/usage", Function: "usage"}
	ChannelsRoute = api.Route{Method: http.MethodGet, Path: "/v1/usage/channels", Function: "usage"}
	PeersRoute    = api.Route{Method: http.MethodGet, Path: "/v1/usage/peers", Function: "usage"}
)

// Reader is where the figures are: [usage.Reader].
type Reader interface {
	Report(ctx context.Context, app *apps.App) (usage.Report, error)
	// Top reads one page of a ranking. Its errors are usage.ErrCursor, or about Redis.
	Top(ctx context.Context, appID string, kind usage.Kind, pattern *channel.Pattern, limit int, cursor string) (usage.Page, error)
}

// New makes the handler of all three routes. The two rankings take the query
// parameters
//
//	pattern  which channels, or peers; default: all
//	limit    1–1000 entries; default: 100
//	cursor   the cursor of the page before; default, and "": the first page
//
// and answer {"channels":[{"channel","published","bytes"}],"cursor"} or
// {"peers":[{"peerId","published","bytes"}],"cursor"}. A page may hold fewer
// entries than its limit, or none, and not be the last: that is the one whose
// cursor is null.
//
// A parameter that is unknown, given twice or wrong is 400 invalid_request, and
// the message names it. Without Redis the answer is 503 backend_error.
func New(c api.Config, reader Reader) http.Handler {
	return api.NewRouter(c, nil, Endpoints(c, reader)...)
}

// Endpoints are those of the three routes.
func Endpoints(c api.Config, reader Reader) []*api.Endpoint {
	if reader == nil {
		panic("usage.New: a Reader is required")
	}
	return []*api.Endpoint{
		api.New(c, Route, report(reader)),
		api.New(c, ChannelsRoute, top(reader, usage.Channels, channelsBody)),
		api.New(c, PeersRoute, top(reader, usage.Peers, peersBody)),
	}
}

func report(reader Reader) api.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		if _, err := api.ReadQuery(r.URL.RawQuery); err != nil {
			return err
		}
		report, err := reader.Report(r.Context(), key.App)
		if err != nil {
			return unread(err)
		}
		return api.WriteJSON(w, report)
	}
}

func top(reader Reader, kind usage.Kind, body func(usage.Page) any) api.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		q, err := readRankingQuery(r.URL.RawQuery)
		if err != nil {
			return err
		}
		page, err := reader.Top(r.Context(), key.App.ID, kind, q.pattern, q.limit, q.cursor)
		if errors.Is(err, usage.ErrCursor) {
			return protocol.Errorf(protocol.InvalidRequest, "%v", usage.ErrCursor)
		}
		if err != nil {
			return unread(err)
		}
		return api.WriteJSON(w, body(page))
	}
}

func unread(err error) error {
	return fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "the usage could not be read; try again"), err)
}

type channelCost struct {
	Channel   string `json:"channel"`
	Published int64  `json:"published"`
	Bytes     int64  `json:"bytes"`
}

type peerCost struct {
	PeerID    string `json:"peerId"`
	Published int64  `json:"published"`
	Bytes     int64  `json:"bytes"`
}

// otherCost is what names without an entry of their own cost together.
type otherCost struct {
	Published int64 `json:"published"`
	Bytes     int64 `json:"bytes"`
}

// other is left out while every name has an entry.
func other(page usage.Page) *otherCost {
	if page.Other.Published == 0 {
		return nil
	}
	return &otherCost{page.Other.Published, page.Other.Bytes}
}

func channelsBody(page usage.Page) any {
	costs := make([]channelCost, len(page.Entries))
	for i, e := range page.Entries {
		costs[i] = channelCost{e.Name, e.Published, e.Bytes}
	}
	return struct {
		Channels []channelCost `json:"channels"`
		Other    *otherCost    `json:"other,omitempty"`
		Cursor   *string       `json:"cursor"`
	}{costs, other(page), cursor(page)}
}

func peersBody(page usage.Page) any {
	costs := make([]peerCost, len(page.Entries))
	for i, e := range page.Entries {
		costs[i] = peerCost{e.Name, e.Published, e.Bytes}
	}
	return struct {
		Peers  []peerCost `json:"peers"`
		Other  *otherCost `json:"other,omitempty"`
		Cursor *string    `json:"cursor"`
	}{costs, other(page), cursor(page)}
}

// cursor is null on the last page.
func cursor(page usage.Page) *string {
	if page.Next == "" {
		return nil
	}
	return &page.Next
}
