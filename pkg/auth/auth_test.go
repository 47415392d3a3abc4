package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

const (
	secretA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	secretB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// now is every test's clock: 2026-01-01T00:00:00Z.
var now = time.Unix(1767225600, 0)

// directory has two apps. Key sk_a of app_a covers devices/** and fleets/*,
// sk_narrow of the same app only devices/cam-1, sk_b of app_b everything.
func directory(t testing.TB) *apps.Directory {
	t.Helper()
	dir, err := apps.Parse([]byte(`{"apps":[
		{"id":"app_a","keys":[
			{"id":"sk_a","secret":"` + secretA + `","channelPatterns":["devices/**","fleets/*"],"actions":["publish","subscribe","presence"]},
			{"id":"sk_narrow","secret":"` + secretA + `","channelPatterns":["devices/cam-1"],"actions":["subscribe"]},
			{"id":"pk_a","channelPatterns":["public/**"],"actions":["subscribe"]}]},
		{"id":"app_b","keys":[
			{"id":"sk_b","secret":"` + secretB + `","channelPatterns":["**"],"actions":["publish","subscribe","presence","send"]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func keyNamed(t testing.TB, id string) *apps.Key {
	t.Helper()
	key, ok := directory(t).Key(id)
	if !ok {
		t.Fatalf("no key %s", id)
	}
	return key
}

func patterns(t testing.TB, texts ...string) []*channel.Pattern {
	t.Helper()
	list := make([]*channel.Pattern, len(texts))
	for i, text := range texts {
		p, err := channel.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = p
	}
	return list
}

func texts(list []*channel.Pattern) string {
	var all []string
	for _, p := range list {
		all = append(all, p.String())
	}
	return strings.Join(all, " ")
}

// The tests make tokens by hand and not with a library, so that they can be as
// wrong as an attacker's.

const goodHeader = `{"alg":"HS256","kid":"sk_a","typ":"JWT"}`

func segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// hs256 is a JWT with any header and payload, signed with HMAC-SHA256.
func hs256(header, payload, secret string) string {
	text := segment(header) + "." + segment(payload)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + segment(string(mac.Sum(nil)))
}

// signed is a token by sk_a with the payload's members besides sub and exp.
func signed(members string) string {
	return hs256(goodHeader, `{"sub":"device-1","exp":1767229200`+members+`}`, secretA)
}

func verify(t *testing.T, token string) *Grant {
	t.Helper()
	grant, refusal := VerifyToken(directory(t), token, now)
	if refusal != nil {
		t.Fatalf("refused: %v", refusal)
	}
	return grant
}

// wantRefusal checks the refusal to the letter: a developer must be able to
// tell from it what is wrong, and no part of the token may be in it.
func wantRefusal(t *testing.T, token string, code protocol.CloseCode, reason string) {
	t.Helper()
	grant, refusal := VerifyToken(directory(t), token, now)
	if refusal == nil || grant != nil {
		t.Fatalf("accepted: %+v", grant)
	}
	if refusal.Code != code || refusal.Reason != reason {
		t.Errorf("refusal is %d %q\nwant %d %q", refusal.Code, refusal.Reason, code, reason)
	}
	if len(refusal.Reason) > protocol.MaxCloseReasonBytes {
		t.Errorf("the reason is %d bytes long", len(refusal.Reason))
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) > 8 && strings.Contains(refusal.Reason, part) {
			t.Errorf("the reason shows a part of the token: %q", refusal.Reason)
		}
	}
}

// object is a JSON object that is n bytes long.
func object(n int) string { return `{"k":"` + strings.Repeat("x", n-len(`{"k":""}`)) + `"}` }

// levels is a JSON object in which n levels lie in one another.
func levels(n int) string {
	return `{"k":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
}

// claimsOf reads a token's payload without any check.
func claimsOf(t *testing.T, token string) map[string]json.RawMessage {
	t.Helper()
	var claims map[string]json.RawMessage
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(body, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}
