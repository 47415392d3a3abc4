package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/orders"
	"fleetwire/pkg/registry"
)

// AllRoute and OneRoute are where the handlers of [NewAll] and [NewOne] belong.
var (
	AllRoute = api.Route{Method: http.MethodGet, Path: "/v1/peers", Function: "peers"}
	OneRoute = api.Route{Method: http.MethodGet, Path: "/v1/peers/{peer}", Function: "peers"}
)

// Registry knows the peers of an app: [registry.Reader].
type Registry interface {
	List(ctx context.Context, app *apps.App, q registry.Query) (registry.Page, error)
	Get(ctx context.Context, app *apps.App, peer string) (p registry.Peer, ok bool, err error)
}

// Shower asks the nodes about a peer's connections: [orders.Sender].
type Shower interface {
	// Show returns what each node says, a JSON array of registry.Connection.
	Show(ctx context.Context, app, peer string, nodes []string) ([]json.RawMessage, error)
}

// NewAll makes the handler that lists the peers of the app. It takes the query
// parameters
//
//	prefix      what their ids begin with
//	online      true or false: those that are, or are not
//	seenBefore  unix milliseconds: those that were seen last before
//	limit       1–500 peers; default: 500
//	cursor      the cursor of the page before; default, and "": the first page
//
// and answers 200 {"peers":[…],"cursor"}, sorted by peer id. A page is at most 512 KiB,
// and with a filter one may be short, or empty; the last is the one whose cursor is
// null. The key needs the action presence. Without Redis it is 503 backend_error.
func NewAll(c api.Config, known Registry) *api.Endpoint {
	if known == nil {
		panic("peers.NewAll: Registry is required")
	}
	return api.New(c, AllRoute, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		q, err := readAll(r)
		if err != nil {
			return err
		}
		if !key.Actions.Has(apps.ActionPresence) {
			return auth.NotPermitted(apps.ActionPresence)
		}
		page, err := known.List(r.Context(), key.App, q)
		if err != nil {
			return fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "the app's peers could not be read; try again"), err)
		}
		answer := roll{Peers: page.Peers}
		if answer.Peers == nil {
			answer.Peers = []registry.Peer{}
		}
		if page.Next != "" {
			cursor := api.Cursor(page.Next)
			answer.Cursor = &cursor
		}
		return api.WriteJSON(w, answer)
	})
}

type roll struct {
	Peers  []registry.Peer `json:"peers"`
	Cursor *string         `json:"cursor"`
}

func readAll(r *http.Request) (q registry.Query, err error) {
	values, err := api.ReadQuery(r.URL.RawQuery, "prefix", "online", "seenBefore", "limit", "cursor")
	if err != nil {
		return q, err
	}
	if q.Limit, err = api.ReadLimit(values, registry.MaxPage, registry.MaxPage); err != nil {
		return q, err
	}
	if q.After, err = api.ReadCursor(values); err != nil {
		return q, err
	}
	if q.Prefix = values.Get("prefix"); q.Prefix != "" && !protocol.ValidPeerID(q.Prefix) {
		return q, protocol.Errorf(protocol.InvalidRequest, "prefix is %s; it must be how peer ids begin: 1 to %d printable ASCII characters",
			api.Quote(q.Prefix), protocol.MaxPeerIDBytes)
	}
	if values.Has("online") {
		switch values.Get("online") {
		case "true":
			q.Online = registry.OnlineOnly
		case "false":
			q.Online = registry.OfflineOnly
		default:
			return q, protocol.Errorf(protocol.InvalidRequest, "online is %s; it must be true or false", api.Quote(values.Get("online")))
		}
	}
	if values.Has("seenBefore") {
		text := values.Get("seenBefore")
		q.SeenBefore, err = strconv.ParseInt(text, 10, 64)
		if err != nil || q.SeenBefore < 1 || strconv.FormatInt(q.SeenBefore, 10) != text {
			return q, protocol.Errorf(protocol.InvalidRequest, "seenBefore is %s; it must be a time in unix milliseconds, in plain digits, such as 1767222000123", api.Quote(text))
		}
	}
	return q, nil
}

// NewOne makes the handler that tells of one peer, and of its connections: 200, or 404
// peer_not_found if the registry does not know it. The key needs the action presence.
//
// Of a connection's subscriptions those are shown that the key's patterns cover; node,
// address and user agent only to keys that may watch the connectivity of all peers.
// A node that does not answer within a second is left out. Without Redis it is 503
// backend_error.
func NewOne(c api.Config, known Registry, nodes Shower) *api.Endpoint {
	if known == nil || nodes == nil {
		panic("peers.NewOne: Registry and Shower are required")
	}
	return api.New(c, OneRoute, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		peer, err := readPeer(r)
		if err != nil {
			return err
		}
		if _, err := api.ReadQuery(r.URL.RawQuery); err != nil {
			return err
		}
		if !key.Actions.Has(apps.ActionPresence) {
			return auth.NotPermitted(apps.ActionPresence)
		}
		found, ok, err := known.Get(r.Context(), key.App, peer)
		if err != nil {
			return fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "the peer could not be read; try again"), err)
		}
		if !ok {
			return protocol.Errorf(protocol.PeerNotFound, "the app knows no peer %s", api.Quote(peer))
		}
		answer := one{Peer: found, Connections: []registry.Connection{}}
		if found.Online {
			if answer.Connections, err = connections(r.Context(), nodes, key, peer, found.Nodes()); err != nil {
				return err
			}
		}
		return api.WriteJSON(w, answer)
	})
}

type one struct {
	registry.Peer
	Connections []registry.Connection `json:"connections"`
}

// connections asks the nodes, and leaves out what the key may not see.
func connections(ctx context.Context, nodes Shower, key *apps.Key, peer string, on []string) ([]registry.Connection, error) {
	shown, err := nodes.Show(ctx, key.App.ID, peer, on)
	if err != nil && !errors.Is(err, orders.ErrUnanswered) { // a node that is silent has died, or will be noticed
		return nil, fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "the nodes could not be asked for the peer's connections; try again"), err)
	}
	all, effort := []registry.Connection{}, channel.MaxEffort
	grant, whole := auth.KeyGrant(key, "", nil), auth.WatchesConnectivity(key)
	for _, text := range shown {
		var some []registry.Connection
		if err := json.Unmarshal(text, &some); err != nil {
			return nil, fmt.Errorf("%w: a node's connections: %w", protocol.Errorf(protocol.InternalError, "a node told of the peer's connections in a form that is not known"), err)
		}
		for _, c := range some {
			c.Subscriptions = slices.DeleteFunc(c.Subscriptions, func(name string) bool { return !grant.Sees(name, &effort) })
			if !whole {
				c.Node, c.Address, c.UserAgent = "", "", ""
			}
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b registry.Connection) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}
