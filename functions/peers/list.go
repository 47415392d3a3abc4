package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/channel"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/protocol"
)

// ListRoute is where the handler of [NewList] belongs.
var ListRoute = api.Route{Method: http.MethodGet, Path: "/v1/channels/{channel}/peers", Function: "peers"}

// Members says who is in a channel of an app, sorted by peer id: [presence.List].
type Members func(ctx context.Context, app, channelName string) ([]presence.Member, error)

// NewList makes the handler that says who is in a channel, on all nodes: what
// those hear who watch it. The answer is 200
//
//	{"channel":"…","peers":[{"peerId":"…","metadata"?}]}
//
// sorted by peer id. Whoever is subscribed by name is listed, once. The key needs
// the action presence and a pattern that matches the channel. Without Redis it is
// 503 backend_error.
func NewList(c api.Config, members Members) http.Handler {
	if members == nil {
		panic("peers.NewList: Members is required")
	}
	return api.New(c, ListRoute, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		name, err := readList(r, key)
		if err != nil {
			return err
		}
		list, err := members(r.Context(), key.App.ID, name)
		if err != nil {
			return fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "who is in the channel could not be read; try again"), err)
		}
		return api.WriteJSON(w, newListing(name, list))
	})
}

type listing struct {
	Channel string   `json:"channel"`
	Peers   []listed `json:"peers"`
}

type listed struct {
	PeerID   string          `json:"peerId"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

func newListing(name string, members []presence.Member) listing {
	l := listing{name, make([]listed, len(members))}
	for i, m := range members {
		l.Peers[i].PeerID = m.Peer
		if m.Metadata != "" {
			l.Peers[i].Metadata = json.RawMessage(m.Metadata)
		}
	}
	return l
}

// readList checks in the order of protocol §4.4: name → reserved → action →
// authorization.
func readList(r *http.Request, key *apps.Key) (name string, err error) {
	escaped, ok := ListRoute.Match(api.Path(r))
	if !ok {
		return "", api.NotFound(ListRoute)
	}
	if name, err = url.PathUnescape(escaped); err != nil {
		return "", protocol.Errorf(protocol.InvalidChannel,
			"the channel in the path has a broken escape (%v); percent-encode it, a literal %% as %%25", err)
	}
	if r.URL.RawQuery != "" {
		return "", protocol.Errorf(protocol.InvalidRequest, "there are no query parameters here")
	}
	grant := auth.KeyGrant(key, "", nil)
	switch invalid := channel.ValidateName(name); {
	case invalid != nil:
		return "", protocol.Errorf(protocol.InvalidChannel, "%v", invalid)
	case channel.IsReserved(name):
		return "", protocol.Errorf(protocol.ChannelReserved, "channels beginning with _metered/, _internal/ or _system/ are reserved")
	case !grant.Can(apps.ActionPresence):
		return "", protocol.Errorf(protocol.ActionNotPermitted, "this key does not allow presence")
	case !grant.MayTouch(name):
		return "", protocol.Errorf(protocol.ChannelNotAuthorized, "this key does not cover the channel %q", name)
	}
	return name, nil
}
