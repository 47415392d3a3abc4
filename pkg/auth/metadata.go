package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"fleetwire/clients/go/protocol"
)

// CompactObject checks a metadata or peerMetadata value (protocol §3) and
// gives it in the form it is measured, kept and shown in: without white space
// between its tokens, all else byte for byte, so that a number keeps digits no
// float64 could hold. limit is in bytes of that form; at most
// protocol.MaxMetadataNesting levels may lie in one another. Nothing and null are
// absent: nil without an error. The error says what the value must be, to go
// after the field's name: "must be a JSON object, got an array".
func CompactObject(value []byte, limit int) ([]byte, error) {
	value = bytes.Trim(value, " \t\r\n")
	if len(value) == 0 || string(value) == "null" {
		return nil, nil
	}
	if value[0] != '{' {
		return nil, fmt.Errorf("must be a JSON object, got %s", protocol.Kind(value))
	}
	var compact bytes.Buffer
	if !utf8.Valid(value) || json.Compact(&compact, value) != nil {
		return nil, errors.New("must be a JSON object in valid UTF-8")
	}
	if levels, ok := protocol.Nesting(compact.Bytes()); !ok || levels > protocol.MaxMetadataNesting {
		return nil, fmt.Errorf("is nested too deep; at most %d levels are allowed", protocol.MaxMetadataNesting)
	}
	if compact.Len() > limit {
		return nil, fmt.Errorf("is %d bytes long as compact JSON; at most %d are allowed", compact.Len(), limit)
	}
	return compact.Bytes(), nil
}
