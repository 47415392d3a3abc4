package auth

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// TokenRequest is what a new token shall say (protocol §5, POST /v1/tokens).
type TokenRequest struct {
	Peer string // sub

	// Channels is the channels claim if HasChannels, or if there are any. No
	// channels with HasChannels make a token that may touch none; without it,
	// one that may touch all that its key may.
	Channels    []*channel.Pattern
	HasChannels bool

	// Permissions is the permissions claim, on the same terms.
	Permissions    apps.Actions
	HasPermissions bool

	TTL time.Duration // 1 s to protocol.MaxTokenTTL, in whole seconds; 0: protocol.DefaultTokenTTL

	Metadata     []byte // JSON object ≤ 8 KiB, or nil
	PeerMetadata []byte // JSON object ≤ 4 KiB, or nil
}

// payload is a minted token's claims, in the order they are written.
type payload struct {
	Subject      string          `json:"sub"`
	IssuedAt     int64           `json:"iat"`
	ExpiresAt    int64           `json:"exp"`
	Channels     []string        `json:"channels,omitzero"`
	Permissions  []apps.Action   `json:"permissions,omitzero"`
	Metadata     json.RawMessage `json:"metadata,omitempty"`
	PeerMetadata json.RawMessage `json:"peerMetadata,omitempty"`
}

// Mint makes a token that [VerifyToken] accepts from now until expiresAt. The
// same key, request and second give the same token. Every error is a
// *protocol.Error fit for the caller: invalid_peer_id, invalid_request,
// channel_not_authorized, action_not_permitted.
func Mint(key *apps.Key, r TokenRequest, now time.Time) (token string, expiresAt time.Time, err error) {
	claims, refusal := newPayload(key, r, now)
	if refusal != nil {
		return "", time.Time{}, refusal
	}
	token, err = sign(key, claims)
	if err != nil {
		return "", time.Time{}, protocol.Errorf(protocol.InternalError, "the token could not be signed")
	}
	if len(token) > MaxTokenBytes {
		return "", time.Time{}, protocol.Errorf(protocol.InvalidRequest,
			"the token would be %d bytes long; at most %d are allowed: shorten metadata, peerMetadata or channels", len(token), MaxTokenBytes)
	}
	return token, time.Unix(claims.ExpiresAt, 0), nil
}

// MaxTTL is how long a token lives at most that is minted for the app.
func MaxTTL(app *apps.App) time.Duration {
	if app.Limits.MaxTokenLifeSec == 0 {
		return protocol.MaxTokenTTL
	}
	return min(protocol.MaxTokenTTL, time.Duration(app.Limits.MaxTokenLifeSec)*time.Second)
}

// newPayload checks the request against its key.
func newPayload(key *apps.Key, r TokenRequest, now time.Time) (*payload, *protocol.Error) {
	most, ttl := MaxTTL(key.App), r.TTL
	if ttl == 0 {
		ttl = min(protocol.DefaultTokenTTL, most)
	}
	switch {
	case key.Publishable():
		return nil, protocol.Errorf(protocol.Unauthorized, "a publishable key cannot sign tokens; use a secret key")
	case !key.Signs():
		return nil, ViewerOnly(key)
	case !protocol.ValidPeerID(r.Peer):
		return nil, protocol.Errorf(protocol.InvalidPeerID, "peerId must be 1–%d printable ASCII characters", protocol.MaxPeerIDBytes)
	case protocol.IsReservedPeerID(r.Peer):
		return nil, protocol.Errorf(protocol.InvalidPeerID, "peerId %q is reserved for the service, as are %s; choose another", r.Peer, protocol.ReservedPeerIDs)
	case ttl < time.Second || ttl > most:
		return nil, protocol.Errorf(protocol.InvalidRequest, "expiresInSec must be from 1 to %d", int(most.Seconds()))
	case len(r.Channels) > protocol.MaxTokenChannels:
		return nil, protocol.Errorf(protocol.InvalidRequest, "channels has %d patterns; at most %d are allowed", len(r.Channels), protocol.MaxTokenChannels)
	case !key.Actions.Contains(r.Permissions):
		return nil, protocol.Errorf(protocol.ActionNotPermitted, "permissions: the key does not have %s", names(r.Permissions&^key.Actions))
	}

	p := &payload{Subject: r.Peer, IssuedAt: now.Unix(), ExpiresAt: now.Unix() + int64(ttl/time.Second)}
	if r.HasChannels || len(r.Channels) > 0 {
		p.Channels = make([]string, len(r.Channels))
		effort := channel.MaxEffort
		for i, pattern := range r.Channels {
			if !channel.CoveredBy(key.Patterns, pattern, &effort) {
				if effort.IsExhausted() {
					return nil, protocol.Errorf(protocol.InvalidRequest,
						"channels takes too long to check against the key's patterns; send fewer patterns, or fewer wildcards in each")
				}
				return nil, protocol.Errorf(protocol.ChannelNotAuthorized, "channels[%d]: the key does not cover %q", i, pattern)
			}
			p.Channels[i] = pattern.String()
		}
	}
	if r.HasPermissions || r.Permissions != 0 {
		p.Permissions = r.Permissions.List()
	}
	for _, f := range []struct {
		name  string
		value []byte
		limit int
		into  *json.RawMessage
	}{
		{"metadata", r.Metadata, protocol.MaxMetadataBytes, &p.Metadata},
		{"peerMetadata", r.PeerMetadata, protocol.MaxPeerMetadataBytes, &p.PeerMetadata},
	} {
		compact, err := CompactObject(f.value, f.limit)
		if err != nil {
			return nil, protocol.Errorf(protocol.InvalidRequest, "%s %v", f.name, err)
		}
		*f.into = compact
	}
	return p, nil
}

func names(set apps.Actions) string {
	var list []string
	for _, a := range set.List() {
		list = append(list, string(a))
	}
	return strings.Join(list, ", ")
}

// sign does what jwt.Token.SignedString does, but for one thing: that would
// write each <, > and & of the metadata as six bytes, and make metadata within
// its bounds a token beyond them.
func sign(key *apps.Key, claims *payload) (string, error) {
	token := jwt.New(jwt.SigningMethodHS256)
	token.Header["kid"] = key.ID
	header, err := json.Marshal(token.Header)
	if err != nil {
		return "", err
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(claims); err != nil {
		return "", err
	}
	text := token.EncodeSegment(header) + "." + token.EncodeSegment(bytes.TrimSuffix(body.Bytes(), []byte("\n")))
	signature, err := token.Method.Sign(text, []byte(key.Secret))
	if err != nil {
		return "", err
	}
	return text + "." + token.EncodeSegment(signature), nil
}
