package conntest

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// Frame is a frame from the peer, legal or not. With Op and Payload alone it is legal.
type Frame struct {
	Op         ws.OpCode
	Payload    string
	Unfinished bool
	RSV        byte
	Unmasked   bool
	Announced  uint64 // a length other than the payload's
}

var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Bytes is what goes over the wire.
func (f Frame) Bytes() []byte {
	first := byte(f.Op) | f.RSV<<4
	if !f.Unfinished {
		first |= 0x80
	}
	var masked byte = 0x80
	if f.Unmasked {
		masked = 0
	}
	length := uint64(len(f.Payload))
	if f.Announced != 0 {
		length = f.Announced
	}
	b := []byte{first}
	switch {
	case length <= 125:
		b = append(b, masked|byte(length))
	case length <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), length)
	}
	payload := []byte(f.Payload)
	if !f.Unmasked {
		b = append(b, mask[:]...)
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
	}
	return append(b, payload...)
}

// Plain is a legal frame whose mask is 0: its payload can be read as it is, and taking it
// does not change it.
func Plain(op ws.OpCode, payload string) []byte {
	b := []byte{0x80 | byte(op)}
	if len(payload) <= 125 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(len(payload)))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// Text is a text frame.
func Text(payload string) []byte { return Frame{Op: ws.OpText, Payload: payload}.Bytes() }

// Ping is a ping frame.
func Ping(payload string) []byte { return Frame{Op: ws.OpPing, Payload: payload}.Bytes() }

// Closing is a close frame.
func Closing(code uint16, reason string) []byte {
	payload := string(binary.BigEndian.AppendUint16(nil, code)) + reason
	return Frame{Op: ws.OpClose, Payload: payload}.Bytes()
}

// Join makes one write of several frames.
func Join(frames ...[]byte) []byte {
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}

// Chop makes writes of n bytes each.
func Chop(b []byte, n int) [][]byte {
	var pieces [][]byte
	for len(b) > n {
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return append(pieces, b)
}
