package auth

import (
	"encoding/base64"
	"strings"

	"fleetwire/pkg/protocol"
)

// ClaimedKeyID is the key id that a token names, without any check of the token,
// or "". It is good for choosing which limit applies, never for letting anybody in.
// So it reads no more than the header: a flood of bad tokens is held back by it.
func ClaimedKeyID(token string) (keyID string) {
	if len(token) > MaxTokenBytes {
		return ""
	}
	part, _, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return ""
	}
	err = protocol.ScanObject(header, func(name string, value []byte) error {
		if name == "kid" {
			keyID, _ = protocol.DecodeString(value)
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return keyID
}
