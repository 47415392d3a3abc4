package auth

import (
	"strings"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// maxOriginBytes is more than a host's name, a scheme and a port have. A longer
// Origin header is no browser's, and not kept for as long as the connection lives.
const maxOriginBytes = 512

// Grant is what a connection or a REST caller may do (protocol §3): the token
// and its key. It is not changed once made, so goroutines may share it.
type Grant struct {
	App  *apps.App
	Key  *apps.Key
	Peer string // 1–128 printable ASCII characters

	// Patterns are the channels the token claims, each covered by a pattern of
	// the key. nil: it claims none in particular, so the key's own hold.
	// Empty but not nil: no channel at all.
	Patterns []*channel.Pattern
	Actions  apps.Actions // in the token and in the key

	ExpiresAt time.Time // zero: never
	IssuedAt  time.Time // zero: not told

	Origin string // of the web page whose connection it is; "": it is no browser's

	claimed *apps.Actions // what the token claims of Actions; nil: nothing in particular

	Metadata     []byte // compact JSON object ≤ 8 KiB for this peer alone, or nil
	PeerMetadata []byte // compact JSON object ≤ 4 KiB for other peers to see, or nil
}

// KeyGrant is what a REST caller may do with a secret key: everything the key
// may. from is the peer the messages come from; peerMetadata is compact JSON,
// as [CompactObject] makes it, or nil.
func KeyGrant(key *apps.Key, from string, peerMetadata []byte) *Grant {
	return &Grant{App: key.App, Key: key, Peer: from, Actions: key.Actions, PeerMetadata: peerMetadata}
}

// For is the grant for a connection with this Origin header, "" for none. The
// refusal is a 4001, when the key is not for that origin's pages (protocol §1).
func (g *Grant) For(origin string) (*Grant, *protocol.CloseError) {
	if !g.Key.AllowsOrigin(origin) {
		allowed := make([]string, len(g.Key.AllowedOrigins))
		for i, o := range g.Key.AllowedOrigins {
			allowed[i] = o.String()
		}
		return nil, protocol.Closef(protocol.CloseInvalidCredential, "origin %.64q is not allowed; allowed: %s", origin, strings.Join(allowed, ", "))
	}
	bound := *g
	bound.Origin = origin
	if len(origin) > maxOriginBytes {
		bound.Origin = "null" // which no key allows by name
	}
	return &bound, nil
}

// Can tells whether the grant has the action.
func (g *Grant) Can(a apps.Action) bool { return g.Actions.Has(a) }

func anyMatches(patterns []*channel.Pattern, name string) bool {
	for _, p := range patterns {
		if p.Match(name) {
			return true
		}
	}
	return false
}
