package auth

import (
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
)

func TestGrantForAnOrigin(t *testing.T) {
	restricted := edit(t, rebindDocument, `"id":"sk_a"`, `"id":"sk_a","allowedOrigins":["https://app.example.com","http://localhost:*"]`)
	key, _ := parse(t, restricted).Key("sk_a")
	g := &Grant{App: key.App, Key: key, Peer: "p", Actions: key.Actions}

	for _, origin := range []string{"", "https://app.example.com", "http://localhost:3000"} {
		bound, refusal := g.For(origin)
		if refusal != nil || bound.Origin != origin || bound.Peer != "p" || bound.Key != key {
			t.Errorf("%q: %+v, %v", origin, bound, refusal)
		}
	}
	if g.Origin != "" {
		t.Error("the grant itself was changed")
	}
	for origin, reason := range map[string]string{
		"https://evil.org": `origin "https://evil.org" is not allowed; allowed: https://app.example.com, http://localhost:*`,
		"null":             `origin "null" is not allowed; allowed: https://app.example.com, http://localhost:*`,
	} {
		if _, refusal := g.For(origin); refusal == nil || refusal.Code != protocol.CloseInvalidCredential || refusal.Reason != reason {
			t.Errorf("%q: %v, want %s", origin, refusal, reason)
		}
	}
	_, refusal := g.For("https://" + strings.Repeat("é\x1b[31m", 3000))
	if refusal == nil || len(refusal.Reason) > protocol.MaxCloseReasonBytes || strings.Contains(refusal.Reason, "\x1b") || !strings.HasPrefix(refusal.Reason, `origin "https://é`) {
		t.Errorf("a long and strange origin: %v", refusal)
	}
}

// HOSTILE: a header that is to be kept in memory for every connection.
func TestALongOriginIsNotKept(t *testing.T) {
	key, _ := parse(t, rebindDocument).Key("sk_a") // for all origins
	g := &Grant{App: key.App, Key: key, Peer: "p", Actions: key.Actions}
	restricted := parse(t, edit(t, rebindDocument, `"id":"sk_a"`, `"id":"sk_a","allowedOrigins":["https://*.example.com"]`))
	for length, allowed := range map[int]bool{512: true, 513: false} {
		origin := "https://" + strings.Repeat("a", length-len("https://.example.com")) + ".example.com"
		bound, refusal := g.For(origin)
		if refusal != nil || len(bound.Origin) > 512 {
			t.Fatalf("%d bytes: kept %d, %v", length, len(bound.Origin), refusal)
		}
		if _, refusal := bound.Rebind(restricted); (refusal == nil) != allowed {
			t.Errorf("%d bytes, under a stricter document: %v", length, refusal)
		}
	}
}

// A document may take a live connection's origin away, and leave it its others.
func TestRebindChecksTheOrigin(t *testing.T) {
	key, _ := parse(t, rebindDocument).Key("sk_a")
	restricted := parse(t, edit(t, rebindDocument, `"id":"sk_a"`, `"id":"sk_a","allowedOrigins":["https://app.example.com"]`))
	for origin, code := range map[string]protocol.CloseCode{"": 0, "https://app.example.com": 0, "https://evil.org": 4001} {
		g := &Grant{App: key.App, Key: key, Peer: "p", Actions: key.Actions, Origin: origin}
		bound, refusal := g.Rebind(restricted)
		switch {
		case code == 0 && (refusal != nil || bound.Origin != origin || len(bound.Key.AllowedOrigins) != 1):
			t.Errorf("%q: %+v, %v", origin, bound, refusal)
		case code != 0 && (refusal == nil || refusal.Code != code || !strings.Contains(refusal.Reason, origin)):
			t.Errorf("%q: %v, want close %d", origin, refusal, code)
		}
	}
}
