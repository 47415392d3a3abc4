package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// awkward is an app whose key has a hundred patterns, and a hundred claims that
// are as hard to compare with them as package channel lets them be.
func awkward(t testing.TB) (dir *apps.Directory, claimed []string) {
	t.Helper()
	own := make([]string, 100)
	claimed = make([]string, 100)
	for i := range own {
		own[i] = "**a*" + strings.Repeat("/*", 11) + "/**"
		claimed[i] = strings.Repeat("/**a", 14) + "/**"
	}
	list, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, `{"apps":[{"id":"app_a","keys":[{"id":"sk_a","secret":"`+secretA+`","channelPatterns":`+string(list)+`,"actions":["subscribe"]}]}]}`), claimed
}

func claiming(t testing.TB, claimed []string) (token string) {
	t.Helper()
	list, err := json.Marshal(claimed)
	if err != nil {
		t.Fatal(err)
	}
	return signed(`,"channels":` + string(list))
}

// HOSTILE: a token server, or a device that talked it into this, has a token whose
// claims take minutes to compare with the key's patterns.
func TestVerifyTokenGivesUpOnAwkwardPatterns(t *testing.T) {
	dir, claimed := awkward(t)
	want := protocol.CloseError{Code: protocol.CloseInvalidCredential,
		Reason: "claim channels takes too long to check against the key: use fewer patterns, or fewer wildcards"}
	_, refusal := VerifyToken(dir, claiming(t, claimed), now)
	if refusal == nil || *refusal != want {
		t.Errorf("%v, want %v", refusal, want)
	}
	if len(want.Reason) > protocol.MaxCloseReasonBytes {
		t.Errorf("the reason is %d bytes long", len(want.Reason))
	}
	// The same app's other tokens are none the worse for it.
	if _, refusal := VerifyToken(dir, claiming(t, []string{"a" + strings.Repeat("/x", 12)}), now); refusal != nil {
		t.Errorf("a plain channel: %v", refusal)
	}
}

func TestMintGivesUpOnAwkwardPatterns(t *testing.T) {
	dir, claimed := awkward(t)
	key, _ := dir.Key("sk_a")
	_, _, err := Mint(key, TokenRequest{Peer: "a", Channels: patterns(t, claimed...)}, now)
	var refusal *protocol.Error
	if !errors.As(err, &refusal) || refusal.Code != protocol.InvalidRequest || !strings.HasPrefix(refusal.Message, "channels takes too long to check against the key's patterns; ") {
		t.Errorf("error = %v", err)
	}
}

// HOSTILE: a subscribe is checked in a loop that serves other connections too, so it may
// take less work than the check of a token.
func TestCheckPatternGivesUpEarlier(t *testing.T) {
	dir, claimed := awkward(t)
	key, _ := dir.Key("sk_a")
	few := *key
	few.Patterns = append(key.Patterns[:3:3], patterns(t, "**")...)
	g := KeyGrant(&few, "a", nil)
	q := patterns(t, claimed[0])[0]
	if _, refused := g.CheckPattern(apps.ActionSubscribe, q.String()); refused == nil || !strings.Contains(refused.Message, "takes too long to check") {
		t.Errorf("error = %v", refused)
	}
	effort := channel.MaxEffort
	if !g.Still(apps.ActionSubscribe, q.String(), q, &effort) {
		t.Error("a whole request's effort does not suffice")
	}
	if work := channel.MaxEffort - effort; work <= channel.MaxPatternEffort {
		t.Errorf("%d units of work: not more than a subscribe may take", work)
	}
}

// A hundred patterns that people would write, against a hundred of a key.
func TestVerifyTokenTakesManyPatterns(t *testing.T) {
	var own, claimed []string
	for i := range 100 {
		own = append(own, fmt.Sprintf("sites/*/line-%d/**", i))
		claimed = append(claimed, fmt.Sprintf("sites/*/line-%d/*/events", i))
	}
	list, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	dir := parse(t, `{"apps":[{"id":"app_a","keys":[{"id":"sk_a","secret":"`+secretA+`","channelPatterns":`+string(list)+`,"actions":["subscribe"]}]}]}`)
	g, refusal := VerifyToken(dir, claiming(t, claimed), now)
	if refusal != nil || len(g.Patterns) != 100 {
		t.Fatalf("%v", refusal)
	}
	effort := channel.MaxEffort
	for _, p := range g.Patterns {
		if !g.Still(apps.ActionSubscribe, p.String(), p, &effort) {
			t.Fatalf("does not cover %s, with %d left", p, effort)
		}
	}
}

// BenchmarkVerifyToken is what a connect or a refresh costs.
func BenchmarkVerifyToken(b *testing.B) {
	dir, claimed := awkward(b)
	for title, token := range map[string]string{
		"small":   signed(""),
		"awkward": claiming(b, claimed),
		"large":   signed(`,"metadata":` + object(8000) + `,"peerMetadata":` + object(4000) + `,"channels":["` + strings.Repeat(strings.Repeat("x", 100)+`","`, 99) + `b"]`),
	} {
		b.Run(title, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				VerifyToken(dir, token, now)
			}
		})
	}
}
