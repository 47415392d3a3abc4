package auth

import "strings"

// ClaimedKeyID is the key id that a token names, without any check of the token,
// or "". It is good for choosing which limit applies, never for letting anybody in.
func ClaimedKeyID(token string) string {
	if len(token) > MaxTokenBytes {
		return ""
	}
	part, _, _ := strings.Cut(token, ".")
	h, _ := readHeader(part)
	return h.kid
}
