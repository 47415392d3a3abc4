package auth

import (
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// Protocol §3: maxTokenLifeSec bounds a token from its iat to its exp, so that a
// revocation is needed for no longer.
func TestMaxTokenLife(t *testing.T) {
	now := time.Unix(1_767_225_600, 0)
	at := func(sec int64) time.Time { return now.Add(time.Duration(sec) * time.Second) }
	for name, tt := range map[string]struct {
		most            int
		issued, expires time.Time
		refused         string
	}{
		"no limit, without iat":       {0, time.Time{}, at(1e9), ""},
		"no limit, for decades":       {0, at(0), at(1e9), ""},
		"as long as may be":           {3600, at(-600), at(3000), ""},
		"dated ahead":                 {3600, at(60), at(3660), ""},
		"a second more":               {3600, at(-600), at(3001), "the token lives 3601 s from iat to exp; its app allows 3600 (maxTokenLifeSec)"},
		"nearly over, and lived long": {3600, at(-3600), at(1), "the token lives 3601 s"},
		"without iat":                 {3600, time.Time{}, at(1), "the token has no iat"},
	} {
		refusal := checkLife(&claims{issuedAt: tt.issued, expiresAt: tt.expires}, tt.most)
		if tt.refused == "" {
			if refusal != nil {
				t.Errorf("%s: %v", name, refusal)
			}
			continue
		}
		if refusal == nil || refusal.Code != protocol.CloseInvalidCredential || !strings.HasPrefix(refusal.Reason, tt.refused) {
			t.Errorf("%s: %v, want %s", name, refusal, tt.refused)
		}
	}
}

// What is minted keeps to it, and is accepted.
func TestMintKeepsToMaxTokenLife(t *testing.T) {
	dir, err := apps.Parse([]byte(`{"apps":[{"id":"a","limits":{"maxTokenLifeSec":600},"keys":[
	  {"id":"sk_1","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["subscribe"]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := dir.Key("sk_1")
	now := time.Unix(1_767_225_600, 0)
	for ttl, want := range map[time.Duration]time.Duration{0: 10 * time.Minute, time.Minute: time.Minute, 10 * time.Minute: 10 * time.Minute} {
		token, expires, err := Mint(key, TokenRequest{Peer: "p", TTL: ttl}, now)
		if err != nil || !expires.Equal(now.Add(want)) {
			t.Errorf("%v: until %v, %v, want %v", ttl, expires, err, now.Add(want))
			continue
		}
		if _, refusal := VerifyToken(dir, token, now); refusal != nil {
			t.Errorf("%v: minted and refused: %v", ttl, refusal)
		}
	}
	if _, _, err := Mint(key, TokenRequest{Peer: "p", TTL: 601 * time.Second}, now); err == nil || !strings.Contains(err.Error(), "from 1 to 600") {
		t.Errorf("a token over the limit: %v", err)
	}
	foreign := *key
	unlimited := *key.App
	unlimited.Limits.MaxTokenLifeSec = 0
	foreign.App = &unlimited
	token, _, err := Mint(&foreign, TokenRequest{Peer: "p", TTL: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, refusal := VerifyToken(dir, token, now); refusal == nil || refusal.Code != protocol.CloseInvalidCredential {
		t.Errorf("a token that lives for an hour: %v", refusal)
	}
}
