// Package tokens serves POST /v1/tokens (protocol §5): a backend that holds a
// secret key gets a token for one of its peers (protocol §3), which can be as
// narrow as it likes and never wider than the key.
package tokens

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// Route is where the handler of [New] belongs.
var Route = api.Route{Method: http.MethodPost, Path: "/v1/tokens", Function: "tokens"}

// New makes the handler. A body is
//
//	{"peerId", "channels"?, "permissions"?, "expiresInSec"? = 3600, "metadata"?, "peerMetadata"?}
//
// and the answer 200 {"token":"…","expiresAt":<unix seconds>}. Checks run in the
// order of protocol §4.4: shape (400 invalid_request), names (400
// invalid_peer_id, invalid_channel), reserved (400 channel_reserved), action
// (403 action_not_permitted), authorization (403 channel_not_authorized).
func New(c api.Config) *api.Endpoint {
	return api.New(c, Route, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		body, err := api.ReadObject(w, r, protocol.MaxTokenBodyBytes, "peerId", "channels", "permissions", "expiresInSec", "metadata", "peerMetadata")
		if err != nil {
			return err
		}
		f, err := readFields(body, key.App)
		if err != nil {
			return err
		}
		request, err := f.check(key)
		if err != nil {
			return err
		}
		token, expiresAt, err := auth.Mint(key, request, c.Time())
		if err != nil {
			return err
		}
		return api.WriteJSON(w, response{Token: token, ExpiresAt: expiresAt.Unix()})
	})
}

type response struct {
	Token     string `json:"token"`
	ExpiresAt int64  `json:"expiresAt"` // unix seconds
}

// fields is a body of the right shape: types, counts and sizes hold.
type fields struct {
	peer                        string
	channels, permissions       []string
	hasChannels, hasPermissions bool
	ttl                         time.Duration
	metadata, peerMetadata      []byte
}

func readFields(body api.Object, app *apps.App) (f fields, err error) {
	var hasPeer bool
	if f.peer, hasPeer, err = body.String("peerId", protocol.InvalidPeerID); err != nil {
		return f, err
	}
	if !hasPeer {
		return f, protocol.Errorf(protocol.InvalidRequest, "peerId is missing; it must be a string, the id of the peer that the token is for")
	}
	if f.channels, f.hasChannels, err = body.Strings("channels", protocol.MaxTokenChannels, protocol.InvalidChannel); err != nil {
		return f, err
	}
	if f.permissions, f.hasPermissions, err = body.Strings("permissions", protocol.MaxTokenPermissions, protocol.InvalidRequest); err != nil {
		return f, err
	}
	const sec = int64(time.Second)
	most := auth.MaxTTL(app)
	ttl, err := body.Int("expiresInSec", "seconds", 1, int64(most)/sec, int64(min(protocol.DefaultTokenTTL, most))/sec)
	if err != nil {
		return f, err
	}
	f.ttl = time.Duration(ttl) * time.Second
	if f.metadata, err = body.Object("metadata", protocol.MaxMetadataBytes); err != nil {
		return f, err
	}
	f.peerMetadata, err = body.Object("peerMetadata", protocol.MaxPeerMetadataBytes)
	return f, err
}

// check turns the fields into a token request. auth.Mint checks
// the rest: authorization, and how long the token becomes.
func (f fields) check(key *apps.Key) (auth.TokenRequest, error) {
	if !protocol.ValidPeerID(f.peer) {
		return auth.TokenRequest{}, protocol.Errorf(protocol.InvalidPeerID,
			"peerId %s will not do; it must be 1–%d printable ASCII characters", api.Quote(f.peer), protocol.MaxPeerIDBytes)
	}
	patterns, err := compile(key, f.channels)
	if err != nil {
		return auth.TokenRequest{}, err
	}
	actions, err := permitted(key, f.permissions)
	if err != nil {
		return auth.TokenRequest{}, err
	}
	return auth.TokenRequest{
		Peer:     f.peer,
		Channels: patterns, HasChannels: f.hasChannels,
		Permissions: actions, HasPermissions: f.hasPermissions,
		TTL:      f.ttl,
		Metadata: f.metadata, PeerMetadata: f.peerMetadata,
	}, nil
}

func namesConnectivity(p *channel.Pattern) bool { return channel.NamesConnectivity(p.String()) }

func compile(key *apps.Key, channels []string) ([]*channel.Pattern, error) {
	patterns := make([]*channel.Pattern, len(channels))
	for i, text := range channels {
		p, err := channel.Compile(text)
		if err != nil {
			return nil, protocol.Errorf(protocol.InvalidChannel, "channels[%d]: %v", i, err)
		}
		patterns[i] = p
	}
	for i, text := range channels {
		if channel.IsReserved(text) && !(channel.NamesConnectivity(text) && slices.ContainsFunc(key.Patterns, namesConnectivity)) {
			return nil, protocol.Errorf(protocol.ChannelReserved,
				"channels[%d]: %s begins with a reserved prefix (_metered/, _internal/, _system/); choose another", i, api.Quote(text))
		}
	}
	return patterns, nil
}

func permitted(key *apps.Key, permissions []string) (apps.Actions, error) {
	var actions apps.Actions
	for i, text := range permissions {
		action, ok := apps.ParseAction(text)
		if !ok || !key.Actions.Has(action) {
			return 0, protocol.Errorf(protocol.ActionNotPermitted,
				"permissions[%d]: %s is not an action of this key, which has: %s", i, api.Quote(text), actionList(key.Actions))
		}
		actions.Add(action)
	}
	return actions, nil
}

func actionList(actions apps.Actions) string {
	texts := []string{}
	for _, a := range actions.List() {
		texts = append(texts, string(a))
	}
	if len(texts) == 0 {
		return "none"
	}
	return strings.Join(texts, ", ")
}
