package auth

import (
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// HOSTILE: a token that a viewer's key has signed is refused in the very words of one whose
// key does not exist, and the key mints none.
func TestViewersSignNothing(t *testing.T) {
	dir, err := apps.Parse([]byte(`{"apps":[{"id":"app_a","keys":[
		{"id":"sk_v","secret":"` + secretA + `","channelPatterns":["**"],"actions":["publish","subscribe"],"role":"viewer"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := dir.Key("sk_v")
	full := *key
	full.Role = apps.RoleFull
	token, _, err := Mint(&full, TokenRequest{Peer: "cam-1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	signer, _, refused := VerifySigned(dir, token, now)
	_, _, unknown := VerifySigned(directory(t), token, now)
	if signer != nil || refused == nil || *refused != *unknown {
		t.Errorf("the signer is %v, and the refusal %v, want %v", signer, refused, unknown)
	}
	if _, _, err := Mint(key, TokenRequest{Peer: "cam-1"}, now); err == nil || err.(*protocol.Error).Code != protocol.ActionNotPermitted {
		t.Errorf("minting: %v", err)
	}
	if found, refused := Authenticate(dir, "Bearer "+key.Credential()); found != key || refused != nil {
		t.Errorf("its credential: %v, %v", found, refused)
	}
}
