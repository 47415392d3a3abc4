package apps

import (
	"crypto/rand"
	"encoding/hex"
)

// GenerateKeyPair makes a secret key: an id "sk_live_" and 24 hex digits, and
// a secret of 48 hex digits (192 random bits), which satisfies RFC 7518 §3.2
// as an HS256 key of 48 bytes.
func GenerateKeyPair() (id, secret string) {
	return "sk_live_" + randomHex(12), randomHex(24)
}

// GeneratePublishableID makes a publishable key's id: "pk_live_" and 24 hex
// digits.
func GeneratePublishableID() string { return "pk_live_" + randomHex(12) }

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails: crypto/rand ends the process if the system has no randomness
	return hex.EncodeToString(b)
}
