package apps

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
)

// Secret is a secret of a sink: itself, or where it lies: env:NAME, file:/PATH, or the ARN of a
// secret of AWS Secrets Manager. Printing it shows where it lies, and never the secret itself.
type Secret string

// SecretKind is where a Secret lies.
type SecretKind uint8

// The kinds.
const (
	SecretLiteral SecretKind = iota // the Secret is the secret itself
	SecretEnv                       // in an environment variable
	SecretFile                      // in a file
	SecretAWS                       // in AWS Secrets Manager
)

// Place tells where the secret lies: the variable's name, the file's path, or the ARN. Of a literal
// it is the secret itself.
func (s Secret) Place() (kind SecretKind, where string) {
	if name, ok := strings.CutPrefix(string(s), "env:"); ok {
		return SecretEnv, name
	}
	if path, ok := strings.CutPrefix(string(s), "file:"); ok {
		return SecretFile, path
	}
	if strings.HasPrefix(string(s), "arn:") {
		return SecretAWS, string(s)
	}
	return SecretLiteral, string(s)
}

// String is where the secret lies. The receivers here are values, so that it holds for a Secret
// and a *Secret alike.
func (s Secret) String() string {
	if kind, _ := s.Place(); kind == SecretLiteral {
		return "(a secret)"
	}
	return string(s)
}

// GoString keeps the secret out of %#v.
func (s Secret) GoString() string { return "apps.Secret(" + s.String() + ")" }

// LogValue keeps the secret out of structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps the secret out of JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

const (
	webhookPrefix     = "whsec_"
	minWebhookKey     = 24
	maxWebhookKey     = 64
	wantWebhookSecret = "write whsec_ and the base64 of 24 to 64 random bytes, as printf whsec_; openssl rand -base64 32 makes it"
)

// WebhookKey is the key that a secret of a webhook holds, as Standard Webhooks writes it. The error
// does not show the secret.
func WebhookKey(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, webhookPrefix)
	if !ok {
		return nil, errors.New("does not begin with whsec_; " + wantWebhookSecret)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64 behind whsec_; " + wantWebhookSecret)
	}
	if len(key) < minWebhookKey || len(key) > maxWebhookKey {
		return nil, fmt.Errorf("holds a key of %d bytes; %s", len(key), wantWebhookSecret)
	}
	return key, nil
}

const wantSecret = "give the secret itself, env:NAME, file:/PATH, or the ARN of a secret of AWS Secrets Manager"

// readSecret reads a Secret. literal checks a secret that is given itself; its errors must not
// show it.
func readSecret(v value, literal func(string) error) Secret {
	text, ok := v.text()
	if !ok {
		return ""
	}
	s := Secret(text)
	switch kind, where := s.Place(); kind {
	case SecretEnv:
		if where == "" || !every(where, isWord) || strings.Contains(where, "-") || where[0] >= '0' && where[0] <= '9' {
			v.addf("names no environment variable behind env:; use A–Z, a–z, 0–9 and _, as in env:CRM_SECRET")
		}
	case SecretFile:
		if !filepath.IsAbs(where) || strings.ContainsRune(where, 0) {
			v.addf("has no absolute path behind file:; write it as in file:/etc/fleetwire/crm-secret")
		}
	case SecretAWS:
		if !strings.Contains(where, ":secretsmanager:") || !strings.Contains(where, ":secret:") {
			v.addf("is the ARN of something that is no secret; it looks like arn:aws:secretsmanager:eu-central-1:123456789012:secret:NAME-AbCdEf")
		}
	default:
		if text == "" {
			v.addf("is empty; %s", wantSecret)
		} else if err := literal(text); err != nil {
			v.addf("%v; or %s", err, strings.TrimPrefix(wantSecret, "give the secret itself, "))
		}
	}
	return s
}

// anySecret takes every literal.
func anySecret(string) error { return nil }
