package auth

import "github.com/golang-jwt/jwt/v5"

// ClaimedKeyID is the key id that a token names, without any check of the token,
// or "". It is good for choosing which limit applies, never for letting anybody in.
func ClaimedKeyID(token string) string {
	if len(token) > MaxTokenBytes {
		return ""
	}
	t, _, _ := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if t == nil {
		return ""
	}
	id, _ := t.Header["kid"].(string)
	return id
}
