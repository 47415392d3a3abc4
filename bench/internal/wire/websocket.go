package wire

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Opcodes of RFC 6455 §5.2.
const (
	OpText   = 0x1
	OpBinary = 0x2
	OpClose  = 0x8
	OpPing   = 0x9
	OpPong   = 0xA
)

// maskByte makes up the mask of all frames. A real client's is random; servers
// unmask the same either way. One byte four times keeps stamping simple.
const maskByte = 0x5C

// upgrade is the request that opens a WebSocket (RFC 6455 §4.1).
func upgrade(target string, headers ...string) []byte {
	lines := append([]string{
		"GET " + target + " HTTP/1.1", "Host: 127.0.0.1", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, headers...)
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// ClientFrame is a whole masked frame.
func ClientFrame(opcode byte, payload []byte) []byte {
	b := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, maskByte, maskByte, maskByte, maskByte)
	for _, c := range payload {
		b = append(b, c^maskByte)
	}
	return b
}

// framed makes a message of a frame's payload.
func framed(opcode byte, payload []byte) *Message {
	inner := newMessage(payload)
	frame := ClientFrame(opcode, payload)
	return &Message{bytes: frame, stamp: inner.stamp + len(frame) - len(payload), mask: maskByte}
}

// Frames takes a server's stream of frames apart, as it comes in pieces.
type Frames struct {
	header [10]byte
	have   int    // bytes of header
	left   uint64 // of the payload
	opcode byte   // of the message, also during continuation frames
	op     byte   // of this frame
}

// Next returns a piece of the payload of the frame that b begins with or goes on
// with, and what of b comes after. done tells that the frame ends with the piece.
// ok is false when b ends inside a header.
func (f *Frames) Next(b []byte) (opcode byte, payload, rest []byte, done, ok bool, err error) {
	if f.left == 0 {
		used, complete, err := f.readHeader(b)
		b = b[used:]
		if err != nil || !complete {
			return 0, nil, b, false, false, err
		}
	}
	n := min(f.left, uint64(len(b)))
	f.left -= n
	return f.op, b[:n], b[n:], f.left == 0, true, nil
}

func (f *Frames) readHeader(b []byte) (used int, complete bool, err error) {
	for {
		size := 2
		if f.have >= 2 {
			switch f.header[1] {
			case 126:
				size = 4
			case 127:
				size = 10
			}
		}
		if f.have == size && f.have >= 2 {
			break
		}
		n := copy(f.header[f.have:size], b[used:])
		f.have += n
		used += n
		if f.have < size {
			return used, false, nil
		}
	}
	switch h := f.header[:f.have]; {
	case h[1]&0x80 != 0:
		return used, false, fmt.Errorf("a frame from the server is masked")
	case f.have == 4:
		f.left = uint64(binary.BigEndian.Uint16(h[2:]))
	case f.have == 10:
		f.left = binary.BigEndian.Uint64(h[2:])
	default:
		f.left = uint64(h[1])
	}
	f.op = f.header[0] & 0x0F
	if f.op == 0 {
		f.op = f.opcode
	} else if f.op < OpClose {
		f.opcode = f.op
	}
	f.have = 0
	return used, true, nil
}
