package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

func FuzzParseCredential(f *testing.F) {
	for _, s := range []string{"a:b", "a_secret_b", "a:b_secret_c", "a_secret_b:c", ":", "_secret_", "a_secret_secret_b", "a", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := ParseCredential(s)
		if !ok {
			if c != (Credential{}) {
				t.Fatalf("ParseCredential(%q) is false and %#v", s, c)
			}
			return
		}
		separator := "_secret_"
		if strings.Contains(s, ":") {
			separator = ":"
		}
		if c.ID == "" || c.Secret == "" || c.ID+separator+c.Secret != s || strings.Contains(c.ID, separator) {
			t.Fatalf("ParseCredential(%q) has id %q, secret %q", s, c.ID, c.Secret)
		}
	})
}

// FuzzVerifyToken: no token makes VerifyToken panic, and none gives a grant
// unless it carries the HMAC by the secret of the key that the grant is of.
func FuzzVerifyToken(f *testing.F) {
	good := hs256(goodHeader, goodPayload, secretA)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(signed(`,"channels":["devices/**"],"permissions":["publish"],"metadata":{"a":1}`))
	f.Add(hs256(`{"alg":"HS256","kid":"sk_b"}`, goodPayload, secretA))
	f.Add(segment(`{"alg":"none","kid":"sk_a"}`) + "." + segment(goodPayload) + ".")
	f.Add("..")
	dir := directory(f)
	f.Fuzz(func(t *testing.T, token string) {
		signer, grant, refusal := VerifySigned(dir, token, now)
		if (grant == nil) != (refusal != nil) {
			t.Fatalf("VerifyToken = %v, %v", grant, refusal)
		}
		if refusal != nil {
			checkRefusal(t, refusal)
			return
		}
		if signer != grant.Key {
			t.Fatalf("signed by %v; the grant is by %q", signer, grant.Key.ID)
		}
		end := strings.LastIndexByte(token, '.')
		mac := hmac.New(sha256.New, []byte(grant.Key.Secret))
		mac.Write([]byte(token[:end]))
		if token[end+1:] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) {
			t.Fatalf("a grant without the secret: %q", token)
		}
		checkGrant(t, grant)
	})
}

// FuzzClaims: the payload of someone who holds the secret. Whatever it says,
// the grant stays within the key and within the bounds of protocol §3.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(goodPayload))
	f.Add([]byte(`{"sub":"a","exp":1.8e9,"iat":0,"nbf":-1,"channels":["devices/*"],"permissions":["send","publish"],"metadata":{"a":[1e400]},"peerMetadata":null}`))
	f.Add([]byte(`{"sub":"a","sub":"b","exp":1e999,"channels":null}`))
	f.Add([]byte(`{"sub":"\u0000","exp":253402300800,"x":"` + "\xff" + `"}`))
	dir := directory(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		grant, refusal := VerifyToken(dir, hs256(goodHeader, string(payload), secretA), now)
		if (grant == nil) != (refusal != nil) {
			t.Fatalf("VerifyToken = %v, %v", grant, refusal)
		}
		if refusal != nil {
			checkRefusal(t, refusal)
			return
		}
		checkGrant(t, grant)
		// encoding/json, which reads the last of doubles and any case of a
		// name, must agree on who it is when it finds the exact names.
		var members map[string]json.RawMessage
		if err := json.Unmarshal(payload, &members); err != nil {
			t.Fatalf("accepted a payload that is not JSON: %v", err)
		}
		var sub string
		if err := json.Unmarshal(members["sub"], &sub); err != nil || sub != grant.Peer {
			t.Fatalf("peer %q; encoding/json reads %q", grant.Peer, sub)
		}
		if _, given := members["channels"]; given == (grant.Patterns == nil) {
			t.Fatalf("channels given %v, patterns %v", given, grant.Patterns)
		}
	})
}

func checkRefusal(t *testing.T, refusal *protocol.CloseError) {
	t.Helper()
	switch refusal.Code {
	case protocol.CloseInvalidCredential, protocol.CloseExpired, protocol.CloseChannelNotCovered:
	default:
		t.Fatalf("refused with %d", refusal.Code)
	}
	if refusal.Reason == "" || len(refusal.Reason) > protocol.MaxCloseReasonBytes {
		t.Fatalf("reason %q", refusal.Reason)
	}
}

func checkGrant(t *testing.T, g *Grant) {
	t.Helper()
	if g.App != g.Key.App || g.Key.Publishable() || !protocol.ValidPeerID(g.Peer) || !g.Key.Actions.Contains(g.Actions) {
		t.Fatalf("grant = %+v", g)
	}
	if !g.ExpiresAt.After(now) || g.ExpiresAt.UTC().Year() > 9999 || g.IssuedAt.After(now.Add(protocol.ClockLeeway)) {
		t.Fatalf("expires %v, issued %v", g.ExpiresAt, g.IssuedAt)
	}
	if len(g.Patterns) > protocol.MaxTokenChannels || len(g.Metadata) > protocol.MaxMetadataBytes || len(g.PeerMetadata) > protocol.MaxPeerMetadataBytes {
		t.Fatalf("over a bound: %d patterns, %d bytes of metadata, %d of peerMetadata", len(g.Patterns), len(g.Metadata), len(g.PeerMetadata))
	}
	for _, p := range g.Patterns {
		effort := channel.MaxEffort
		if !channel.CoveredBy(g.Key.Patterns, p, &effort) {
			t.Fatalf("the key does not cover %q", p)
		}
	}
	for _, object := range [][]byte{g.Metadata, g.PeerMetadata} {
		if object != nil && (object[0] != '{' || !json.Valid(object)) {
			t.Fatalf("metadata %q", object)
		}
	}
}
