package protocol

import "encoding/binary"

// The first byte of a whole, final frame, by opcode (RFC 6455 §5.2).
const (
	finalText  = 0x81
	finalClose = 0x88
	finalPing  = 0x89
	finalPong  = 0x8A
)

// PingFrame is the WebSocket ping that the server sends every PingInterval. It is shared by every
// connection: write it, never change it.
var PingFrame = []byte{finalPing, 0}

// AppendTextFrame appends body as one WebSocket text frame, as a server sends it: final, never masked
// (RFC 6455 §5.1, §5.2). The body must be valid UTF-8.
func AppendTextFrame(dst, body []byte) []byte {
	return append(AppendTextHeader(dst, len(body)), body...)
}

// AppendTextHeader appends the header alone (2, 4 or 10 bytes) of a text frame with a body of bodyLen
// bytes, for a caller that writes the body itself. The length is written in its shortest form, as
// RFC 6455 §5.2 demands.
func AppendTextHeader(dst []byte, bodyLen int) []byte {
	switch {
	case bodyLen <= 125:
		return append(dst, finalText, byte(bodyLen))
	case bodyLen <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(dst, finalText, 126), uint16(bodyLen))
	default:
		return binary.BigEndian.AppendUint64(append(dst, finalText, 127), uint64(bodyLen))
	}
}

// AppendCloseFrame appends a close frame with code and reason. An empty reason stands for the code's own;
// what is not valid UTF-8 or over MaxCloseReasonBytes is mended as Closef does (RFC 6455 §5.5.1).
func AppendCloseFrame(dst []byte, code CloseCode, reason string) []byte {
	if reason == "" {
		reason = code.Reason()
	}
	reason = closeReason(reason)
	dst = append(dst, finalClose, byte(2+len(reason)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// AppendPongFrame appends the pong that answers a ping with this payload (RFC 6455 §5.5.3). A payload over
// MaxControlPayloadBytes cannot have come in a legal ping, and is cut to that.
func AppendPongFrame(dst, payload []byte) []byte {
	payload = payload[:min(len(payload), MaxControlPayloadBytes)]
	dst = append(dst, finalPong, byte(len(payload)))
	return append(dst, payload...)
}
