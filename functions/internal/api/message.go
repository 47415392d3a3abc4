package api

import (
	"strconv"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/history"
)

// AppendPosition appends the members of a position, with a comma before each.
func AppendPosition(b []byte, p protocol.Position) []byte {
	b = protocol.AppendString(append(b, `,"epoch":`...), p.Epoch)
	return strconv.AppendUint(append(b, `,"offset":`...), p.Offset, 10)
}

// AppendMessage appends a message that a channel remembers. It is appended by hand, because
// data goes out byte for byte: encoding/json would take white space out of it.
func AppendMessage(b []byte, m *history.Message) []byte {
	b = strconv.AppendUint(append(b, `{"offset":`...), m.Offset, 10)
	b = strconv.AppendInt(append(b, `,"at":`...), m.At, 10)
	b = protocol.AppendString(append(b, `,"from":`...), m.From)
	return append(append(append(b, `,"data":`...), m.Data...), '}')
}
