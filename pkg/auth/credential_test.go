package auth

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

func TestParseCredential(t *testing.T) {
	tests := []struct{ name, in, id, secret string }{
		{"first form", "sk_id_ab12:sk_secret_9f", "sk_id_ab12", "sk_secret_9f"},
		{"second form", "sk_live_ab12_secret_9f", "sk_live_ab12", "9f"},
		{"first form, secret with colons", "id:a:b:", "id", "a:b:"},
		{"first form wins over an earlier separator", "a_secret_b:c", "a_secret_b", "c"},
		{"second form divides at the first separator", "a_secret_b_secret_c", "a", "b_secret_c"},
		{"second form, separators that overlap", "a_secret_secret_c", "a", "secret_c"},
		{"an id alone", "sk_live_ab12", "", ""},
		{"an id and a colon", "sk_live_ab12:", "", ""},
		{"an id and a separator", "sk_live_ab12_secret_", "", ""},
		{"a colon and a secret", ":secret", "", ""},
		{"a separator and a secret", "_secret_x", "", ""},
		{"nothing", "", "", ""},
		{"a colon", ":", "", ""},
		{"a separator", "_secret_", "", ""},
		{"separator in another case", "a_SECRET_b", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, ok := ParseCredential(tt.in)
			if c.ID != tt.id || c.Secret != tt.secret || ok != (tt.id != "") {
				t.Errorf("id %q, secret %q, %v; want id %q, secret %q", c.ID, c.Secret, ok, tt.id, tt.secret)
			}
		})
	}
}

// What apps generates is printed in the second form and must come back whole.
func TestGeneratedKeysParseInBothForms(t *testing.T) {
	id, secret := apps.GenerateKeyPair()
	for _, s := range []string{id + ":" + secret, id + "_secret_" + secret} {
		if c, ok := ParseCredential(s); !ok || c.ID != id || c.Secret != secret {
			t.Error("a generated credential does not parse")
		}
	}
}

func TestPrintingACredentialNeverShowsItsSecret(t *testing.T) {
	c := Credential{ID: "sk_1", Secret: "SEKRIT"}
	if got := c.String(); got != "sk_1:[redacted]" {
		t.Errorf("String() = %q", got)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", c, &c, []Credential{c})
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("m", "credential", c, "pointer", &c)
	}
	if strings.Contains(out.String(), "SEKRIT") || !strings.Contains(out.String(), "sk_1:[redacted]") {
		t.Errorf("printed:\n%s", out.String())
	}
}

func TestBearer(t *testing.T) {
	for in, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", "BEARER  abc \t": "abc", "Bearer a b": "a b",
		"": "", "Bearer": "", "Bearer ": "", "Bearerabc": "", "Basic abc": "", "abc": "", " Bearer abc": "", "Bearer\tabc": "",
	} {
		if got, ok := Bearer(in); got != want || ok != (want != "") {
			t.Errorf("Bearer(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	dir := directory(t)
	for _, header := range []string{
		"Bearer sk_a:" + secretA, "bearer sk_a_secret_" + secretA, "BEARER   sk_a:" + secretA + "  ",
	} {
		if key, err := Authenticate(dir, header); err != nil || key.ID != "sk_a" || key.App.ID != "app_a" {
			t.Errorf("Authenticate(a good header) = %v, %v", key, err)
		}
	}
}

// An attacker must not learn which ids exist, nor which of them are publishable.
func TestAuthenticateRefusesEverythingElseAlike(t *testing.T) {
	dir := directory(t)
	for name, header := range map[string]string{
		"no header":                      "",
		"scheme alone":                   "Bearer",
		"scheme and space":               "Bearer ",
		"another scheme":                 "Basic sk_a:" + secretA,
		"no scheme":                      "sk_a:" + secretA,
		"garbage":                        "Bearer \x00\xff",
		"id without a secret":            "Bearer sk_a",
		"id with an empty secret":        "Bearer sk_a:",
		"unknown key":                    "Bearer sk_zzz:" + secretA,
		"unknown key, empty secret":      "Bearer sk_zzz:",
		"empty id":                       "Bearer :" + secretA,
		"wrong secret":                   "Bearer sk_a:" + secretB,
		"secret with a byte more":        "Bearer sk_a:" + secretA + "a",
		"secret with a byte less":        "Bearer sk_a:" + secretA[1:],
		"secret in another case":         "Bearer sk_a:" + strings.ToUpper(secretA),
		"publishable key alone":          "Bearer pk_a",
		"publishable key, empty secret":  "Bearer pk_a:",
		"publishable key, its id":        "Bearer pk_a:pk_a",
		"publishable key, a real secret": "Bearer pk_a:" + secretA,
		"another key's secret":           "Bearer sk_b:" + secretA,
		"a token by a real key":          "Bearer " + signed(""),
	} {
		key, err := Authenticate(dir, header)
		if key != nil || err == nil || *err != (protocol.Error{Code: protocol.Unauthorized, Message: protocol.Unauthorized.Sentence()}) {
			t.Errorf("%s: Authenticate = %v, %v", name, key, err)
		}
	}
}

// A write to one caller's error must not show up in the next one's.
func TestAuthenticateErrorsAreNotShared(t *testing.T) {
	_, first := Authenticate(directory(t), "")
	first.Message = "changed"
	if _, second := Authenticate(directory(t), ""); second.Message == "changed" {
		t.Error("two callers share one error")
	}
}
