package auth

import (
	"regexp"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

func TestGrantScope(t *testing.T) {
	key := keyNamed(t, "sk_a") // devices/** and fleets/*
	claim := func(texts ...string) []*channel.Pattern { return patterns(t, texts...) }
	tests := []struct {
		name    string
		claimed []*channel.Pattern
		touch   map[string]bool
		covers  map[string]bool
	}{
		{"the key's own", nil,
			map[string]bool{"devices/a": true, "devices/a/b": true, "fleets/1": true, "fleets/1/2": false, "public/a": false},
			map[string]bool{"devices/**": true, "devices/*/events": true, "fleets/*": true, "fleets/**": false, "**": false}},
		{"none", claim(),
			map[string]bool{"devices/a": false, "fleets/1": false},
			map[string]bool{"devices/**": false, "devices/a": false}},
		{"narrower than the key", claim("devices/cam-1/*"),
			map[string]bool{"devices/cam-1/events": true, "devices/cam-1/a/b": false, "devices/cam-2/events": false, "fleets/1": false},
			map[string]bool{"devices/cam-1/*": true, "devices/cam-1/e*": true, "devices/*/events": false, "fleets/*": false}},
		// As after a key was narrowed while the connection lives.
		{"wider than the key", claim("**"),
			map[string]bool{"devices/a": true, "public/a": false, "fleets/1/2": false},
			map[string]bool{"devices/**": true, "public/**": false, "**": false}},
		// One claimed pattern must cover, and one key pattern: two halves do not make a whole.
		{"several claimed", claim("devices/a*", "fleets/1"),
			map[string]bool{"devices/ab": true, "devices/b": false, "fleets/1": true, "fleets/2": false},
			map[string]bool{"devices/a*": true, "devices/*": false, "fleets/1": true, "*/1": false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := &Grant{App: key.App, Key: key, Patterns: tt.claimed, Actions: apps.AllActions}
			for name, want := range tt.touch {
				if got := touches(g, name); got != want {
					t.Errorf("may touch %q: %v; want %v", name, got, want)
				}
			}
			for text, want := range tt.covers {
				if _, refused := g.CheckPattern(apps.ActionSubscribe, text); (refused == nil) != want {
					t.Errorf("CheckPattern(%q): %v; want allowed: %v", text, refused, want)
				}
			}
		})
	}
}

func TestGrantCan(t *testing.T) {
	g := &Grant{Actions: apps.ActionsOf(apps.ActionSend, apps.ActionSubscribe)}
	for action, want := range map[apps.Action]bool{
		apps.ActionSend: true, apps.ActionSubscribe: true, apps.ActionPublish: false, apps.ActionPresence: false, "": false, "admin": false,
	} {
		if got := g.Can(action); got != want {
			t.Errorf("Can(%q) = %v; want %v", action, got, want)
		}
	}
}

// Every message passes here.
func TestGrantChecksDoNotAllocate(t *testing.T) {
	g := &Grant{Key: keyNamed(t, "sk_a"), Patterns: patterns(t, "devices/cam-1/**"), Actions: apps.AllActions}
	allowed := true
	allocs := testing.AllocsPerRun(100, func() {
		allowed = allowed && g.Check(apps.ActionPublish, "devices/cam-1/events") == nil
	})
	if allocs != 0 || !allowed {
		t.Errorf("%v allocations, allowed %v; want 0, true", allocs, allowed)
	}
}

func TestKeyGrant(t *testing.T) {
	key := keyNamed(t, "sk_a")
	g := KeyGrant(key, "server", []byte(`{"a":1}`))
	if g.App != key.App || g.Key != key || g.Peer != "server" || g.Patterns != nil || g.Actions != key.Actions ||
		!g.ExpiresAt.IsZero() || !g.IssuedAt.IsZero() || g.Metadata != nil || string(g.PeerMetadata) != `{"a":1}` {
		t.Errorf("grant = %+v", g)
	}
	if !touches(g, "devices/a") || touches(g, "public/a") {
		t.Error("the grant is not as wide as its key")
	}
}

func TestVerifyPublishable(t *testing.T) {
	dir := directory(t)
	seen := map[string]bool{}
	for range 100 {
		g, refusal := VerifyPublishable(dir, "pk_a")
		if refusal != nil {
			t.Fatal(refusal)
		}
		if !regexp.MustCompile(`^anon_[0-9A-Za-z]{22}$`).MatchString(g.Peer) || seen[g.Peer] {
			t.Fatalf("peer = %q, which is malformed or came before", g.Peer)
		}
		seen[g.Peer] = true
		if g.Key.ID != "pk_a" || g.App.ID != "app_a" || g.Patterns != nil || !g.ExpiresAt.IsZero() ||
			g.Metadata != nil || g.PeerMetadata != nil || g.Actions != apps.ActionsOf(apps.ActionSubscribe) {
			t.Fatalf("grant = %+v", g)
		}
		if !touches(g, "public/a") || touches(g, "devices/a") {
			t.Fatal("the grant is not as wide as its key")
		}
	}
}

// The id of a secret key is public: alone it must open nothing.
func TestVerifyPublishableRefuses(t *testing.T) {
	for name, id := range map[string]string{
		"nothing": "", "unknown": "pk_zzz", "a secret key's id": "sk_a", "a secret credential": "sk_a:" + secretA, "another case": "PK_a",
	} {
		g, refusal := VerifyPublishable(directory(t), id)
		want := protocol.CloseError{Code: protocol.CloseInvalidCredential, Reason: "the key is unknown or revoked, or not a publishable one (pk_…)"}
		if g != nil || refusal == nil || *refusal != want {
			t.Errorf("%s: VerifyPublishable = %+v, %v", name, g, refusal)
		}
	}
}

// With 3,100 characters each of the 62 is expected 50 times; fewer than 10 or
// more than 120 of any happens by chance less than once in 10^9 runs.
func TestRandomBase62UsesItsWholeAlphabet(t *testing.T) {
	count := map[rune]int{}
	for _, r := range randomBase62(3100) {
		count[r]++
	}
	if len(count) != 62 {
		t.Errorf("%d different characters; want 62", len(count))
	}
	for r, n := range count {
		if n < 10 || n > 120 {
			t.Errorf("%q came %d times; about 50 are expected", r, n)
		}
	}
}
