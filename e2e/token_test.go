package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"hash"
	"time"
)

// claims is a token's payload (protocol §3).
type claims map[string]any

// token signs the claims, as a backend with its own JWT library does. Without
// an exp they get one an hour ahead.
func (k *keyDoc) token(peer string, c claims) string {
	payload := claims{"sub": peer, "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range c {
		payload[name] = value
	}
	return signed(map[string]any{"alg": "HS256", "typ": "JWT", "kid": k.ID}, payload, k.Secret)
}

// signed makes a token by hand, so that it can be as wrong as a test likes: no
// library would sign with "none".
func signed(header map[string]any, payload any, secret string) string {
	text := segment(header) + "." + segment(payload)
	var h func() hash.Hash
	switch header["alg"] {
	case "HS256":
		h = sha256.New
	case "HS512":
		h = sha512.New
	default:
		return text + "."
	}
	mac := hmac.New(h, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func segment(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of plain values always marshal
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
