package auth

import (
	"encoding/base64"
	"strings"

	"fleetwire/pkg/protocol"
)

// segments is what the parts of a token are written in (RFC 7515 §2). Strict
// decoding makes the spelling of a signature unique.
var segments = base64.RawURLEncoding.Strict()

// header is a token's header (RFC 7515 §4.1). What is given as anything but a
// string is ""; of what is given twice, the last counts.
type header struct {
	alg, kid  string
	foreign   bool // it has a typ other than JWT
	extension bool // it has crit: extensions one must understand
}

// readHeader reads the first part of a token. It is false if that is not a JSON
// object.
func readHeader(part string) (h header, ok bool) {
	text, err := segments.DecodeString(part)
	if err != nil {
		return header{}, false
	}
	err = protocol.ScanObject(text, func(name string, value []byte) error {
		switch name {
		case "alg":
			h.alg, _ = protocol.DecodeString(value)
		case "kid":
			h.kid, _ = protocol.DecodeString(value)
		case "typ":
			typ, _ := protocol.DecodeString(value)
			h.foreign = !strings.EqualFold(typ, "JWT")
		case "crit":
			h.extension = true
		}
		return nil
	})
	if err != nil {
		return header{}, false
	}
	return h, true
}
