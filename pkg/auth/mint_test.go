package auth

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

func TestMintedTokensVerify(t *testing.T) {
	tests := []struct {
		name    string
		request TokenRequest
		want    Grant // Peer, Actions, Metadata, PeerMetadata
		pattern string
		none    bool // no pattern at all, instead of the key's own
		ttl     time.Duration
	}{
		{"the least", TokenRequest{Peer: "a"},
			Grant{Peer: "a", Actions: apps.ActionsOf(apps.ActionPublish, apps.ActionSubscribe, apps.ActionPresence)}, "", false, time.Hour},
		{"everything", TokenRequest{Peer: "device 1/~", Channels: patterns(t, "devices/cam-1/*", `fleets/\*`), HasChannels: true,
			Permissions: apps.ActionsOf(apps.ActionPublish), HasPermissions: true, TTL: 90 * time.Second,
			Metadata: []byte(` { "n" : 1.10, "html":"<&>", "u":"` + "\u2028" + `" } `), PeerMetadata: []byte(`{}`)},
			Grant{Peer: "device 1/~", Actions: apps.ActionsOf(apps.ActionPublish), Metadata: []byte(`{"n":1.10,"html":"<&>","u":"` + "\u2028" + `"}`), PeerMetadata: []byte(`{}`)},
			`devices/cam-1/* fleets/\*`, false, 90 * time.Second},
		{"no channels, no permissions", TokenRequest{Peer: "a", HasChannels: true, HasPermissions: true, TTL: 24 * time.Hour},
			Grant{Peer: "a"}, "", true, 24 * time.Hour},
		// Forgetting a switch must not make the token wider than what was asked.
		{"channels and permissions without their switches", TokenRequest{Peer: "a", Channels: patterns(t, "devices/a"), Permissions: apps.ActionsOf(apps.ActionPresence), TTL: time.Second},
			Grant{Peer: "a", Actions: apps.ActionsOf(apps.ActionPresence)}, "devices/a", false, time.Second},
		{"metadata null", TokenRequest{Peer: "a", Permissions: apps.ActionsOf(apps.ActionPublish), Metadata: []byte("null"), PeerMetadata: []byte("null")},
			Grant{Peer: "a", Actions: apps.ActionsOf(apps.ActionPublish)}, "", false, time.Hour},
		{"8 KiB of metadata that HTML would escape", TokenRequest{Peer: "a", Permissions: apps.ActionsOf(apps.ActionPublish), Metadata: []byte(strings.ReplaceAll(object(8192), "x", "<"))},
			Grant{Peer: "a", Actions: apps.ActionsOf(apps.ActionPublish), Metadata: []byte(strings.ReplaceAll(object(8192), "x", "<"))}, "", false, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, expiresAt, err := Mint(keyNamed(t, "sk_a"), tt.request, now.Add(900*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			if want := now.Add(tt.ttl); !expiresAt.Equal(want) {
				t.Errorf("expiresAt = %v; want %v", expiresAt, want)
			}
			g := verify(t, token)
			if g.Key.ID != "sk_a" || g.Peer != tt.want.Peer || g.Actions != tt.want.Actions ||
				string(g.Metadata) != string(tt.want.Metadata) || string(g.PeerMetadata) != string(tt.want.PeerMetadata) {
				t.Errorf("grant = %+v", g)
			}
			if texts(g.Patterns) != tt.pattern || (g.Patterns == nil) != (tt.pattern == "" && !tt.none) {
				t.Errorf("patterns = %v", g.Patterns)
			}
			if !g.ExpiresAt.Equal(expiresAt) || !g.IssuedAt.Equal(now) {
				t.Errorf("expires %v, issued %v", g.ExpiresAt, g.IssuedAt)
			}
		})
	}
}

// The claims are the contract of POST /v1/tokens (protocol §5), to the byte.
func TestMintIsDeterministic(t *testing.T) {
	r := TokenRequest{Peer: "a", Channels: patterns(t, "devices/a"), Permissions: apps.ActionsOf(apps.ActionPresence, apps.ActionPublish),
		Metadata: []byte(`{"m":1}`), PeerMetadata: []byte(`{"p":2}`)}
	token, _, err := Mint(keyNamed(t, "sk_a"), r, now)
	if err != nil {
		t.Fatal(err)
	}
	want := hs256(`{"alg":"HS256","kid":"sk_a","typ":"JWT"}`,
		`{"sub":"a","iat":1767225600,"exp":1767229200,"channels":["devices/a"],"permissions":["publish","presence"],"metadata":{"m":1},"peerMetadata":{"p":2}}`, secretA)
	if token != want {
		t.Errorf("token = %s; want %s", token, want)
	}
}

func TestMintLeavesOutWhatWasNotAsked(t *testing.T) {
	token, _, err := Mint(keyNamed(t, "sk_a"), TokenRequest{Peer: "a"}, now)
	if err != nil {
		t.Fatal(err)
	}
	claims := claimsOf(t, token)
	for _, name := range []string{"sub", "iat", "exp"} {
		if claims[name] == nil {
			t.Errorf("claim %s is missing", name)
		}
	}
	if len(claims) != 3 {
		t.Errorf("claims = %s; want sub, iat and exp alone", claims)
	}
}

func TestMintRefuses(t *testing.T) {
	tests := []struct {
		name    string
		key     string
		request TokenRequest
		want    protocol.Error
	}{
		{"no peer", "sk_a", TokenRequest{}, protocol.Error{Code: protocol.InvalidPeerID, Message: "peerId must be 1–128 printable ASCII characters"}},
		{"a peer with a newline", "sk_a", TokenRequest{Peer: "a\n"}, protocol.Error{Code: protocol.InvalidPeerID, Message: "peerId must be 1–128 printable ASCII characters"}},
		{"a peer whom REST publishes are from", "sk_a", TokenRequest{Peer: "server"}, protocol.Error{Code: protocol.InvalidPeerID, Message: `peerId "server" is reserved for the service, as are server, anon_… and _system…; choose another`}},
		{"a peer of a publishable key", "sk_a", TokenRequest{Peer: "anon_a"}, protocol.Error{Code: protocol.InvalidPeerID, Message: `peerId "anon_a" is reserved for the service, as are server, anon_… and _system…; choose another`}},
		{"metadata of 17 levels", "sk_a", TokenRequest{Peer: "a", Metadata: []byte(levels(17))}, protocol.Error{Code: protocol.InvalidRequest, Message: "metadata is nested too deep; at most 16 levels are allowed"}},
		{"a publishable key", "pk_a", TokenRequest{Peer: "a"}, protocol.Error{Code: protocol.Unauthorized, Message: "a publishable key cannot sign tokens; use a secret key"}},
		{"less than a second", "sk_a", TokenRequest{Peer: "a", TTL: time.Millisecond}, protocol.Error{Code: protocol.InvalidRequest, Message: "expiresInSec must be from 1 to 86400"}},
		{"a negative time", "sk_a", TokenRequest{Peer: "a", TTL: -time.Hour}, protocol.Error{Code: protocol.InvalidRequest, Message: "expiresInSec must be from 1 to 86400"}},
		{"more than a day", "sk_a", TokenRequest{Peer: "a", TTL: 86401 * time.Second}, protocol.Error{Code: protocol.InvalidRequest, Message: "expiresInSec must be from 1 to 86400"}},
		{"101 channels", "sk_a", TokenRequest{Peer: "a", Channels: patterns(t, strings.Fields(strings.Repeat("devices/a ", 101))...)}, protocol.Error{Code: protocol.InvalidRequest, Message: "channels has 101 patterns; at most 100 are allowed"}},
		{"a channel the key does not cover", "sk_a", TokenRequest{Peer: "a", Channels: patterns(t, "devices/**", "**")}, protocol.Error{Code: protocol.ChannelNotAuthorized, Message: `channels[1]: the key does not cover "**"`}},
		{"actions the key does not have", "sk_narrow", TokenRequest{Peer: "a", Permissions: apps.AllActions}, protocol.Error{Code: protocol.ActionNotPermitted, Message: "permissions: the key does not have publish, presence, send"}},
		{"metadata an array", "sk_a", TokenRequest{Peer: "a", Metadata: []byte("[]")}, protocol.Error{Code: protocol.InvalidRequest, Message: "metadata must be a JSON object, got an array"}},
		{"metadata too large", "sk_a", TokenRequest{Peer: "a", Metadata: []byte(object(8193))}, protocol.Error{Code: protocol.InvalidRequest, Message: "metadata is 8193 bytes long as compact JSON; at most 8192 are allowed"}},
		{"metadata broken", "sk_a", TokenRequest{Peer: "a", Metadata: []byte("{")}, protocol.Error{Code: protocol.InvalidRequest, Message: "metadata must be a JSON object in valid UTF-8"}},
		{"metadata not UTF-8", "sk_a", TokenRequest{Peer: "a", Metadata: []byte("{\"a\":\"\xff\"}")}, protocol.Error{Code: protocol.InvalidRequest, Message: "metadata must be a JSON object in valid UTF-8"}},
		{"metadata that would add a claim", "sk_a", TokenRequest{Peer: "a", Metadata: []byte(`{},"exp":99999999999`)}, protocol.Error{Code: protocol.InvalidRequest, Message: "metadata must be a JSON object in valid UTF-8"}},
		{"peerMetadata too large", "sk_a", TokenRequest{Peer: "a", PeerMetadata: []byte(object(4097))}, protocol.Error{Code: protocol.InvalidRequest, Message: "peerMetadata is 4097 bytes long as compact JSON; at most 4096 are allowed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, _, err := Mint(keyNamed(t, tt.key), tt.request, now)
			var refusal *protocol.Error
			if token != "" || !errors.As(err, &refusal) || *refusal != tt.want {
				t.Errorf("Mint = %q, %v; want %v", token, err, &tt.want)
			}
		})
	}
}

// All that protocol §3 allows goes into one token, in the characters that take the
// most bytes in JSON.
func TestMintTheLargestToken(t *testing.T) {
	long := patterns(t, slices.Repeat([]string{"devices/" + strings.Repeat(`"`, 248)}, protocol.MaxTokenChannels)...)
	request := TokenRequest{
		Peer: strings.Repeat(`"`, protocol.MaxPeerIDBytes), Channels: long, Permissions: keyNamed(t, "sk_a").Actions,
		Metadata: []byte(object(protocol.MaxMetadataBytes)), PeerMetadata: []byte(object(protocol.MaxPeerMetadataBytes)),
	}
	token, _, err := Mint(keyNamed(t, "sk_a"), request, now)
	if err != nil {
		t.Fatal(err)
	}
	g := verify(t, token)
	if len(g.Patterns) != len(long) || g.Peer != request.Peer || len(g.Metadata) != protocol.MaxMetadataBytes || len(g.PeerMetadata) != protocol.MaxPeerMetadataBytes {
		t.Errorf("the token of %d bytes grants %d patterns, peer %q, metadata of %d and %d bytes", len(token), len(g.Patterns), g.Peer, len(g.Metadata), len(g.PeerMetadata))
	}
}

// The key that signed a token is known also if the token is refused for another
// reason than its signature.
func TestVerifySigned(t *testing.T) {
	dir := directory(t)
	for name, tt := range map[string]struct{ token, signer string }{
		"good":                {signed(""), "sk_a"},
		"expired":             {hs256(goodHeader, `{"sub":"a","exp":1}`, secretA), "sk_a"},
		"beyond its key":      {signed(`,"channels":["**"]`), "sk_a"},
		"claims of no form":   {hs256(goodHeader, `{}`, secretA), "sk_a"},
		"another's secret":    {hs256(goodHeader, goodPayload, secretA+"x"), ""},
		"a kid alone":         {segment(goodHeader) + "..", ""},
		"header not UTF-8":    {segment("{\"alg\":\"HS256\",\"kid\":\"sk_a\",\"x\":\"\xff\"}") + "." + segment(goodPayload) + ".x", ""},
		"not a JWT":           {"nonsense", ""},
		"an unknown key":      {hs256(`{"alg":"HS256","kid":"sk_none"}`, goodPayload, secretA), ""},
		"a publishable key's": {hs256(`{"alg":"HS256","kid":"pk_a"}`, goodPayload, secretA), ""},
	} {
		key, grant, refusal := VerifySigned(dir, tt.token, now)
		if (key == nil) != (tt.signer == "") || key != nil && key.ID != tt.signer || (grant == nil) != (refusal != nil) {
			t.Errorf("%s: signed by %v, grant %v, refusal %v", name, key, grant, refusal)
		}
	}
}
