package wire

import (
	"bytes"
	"fmt"
	"time"
)

// Marker occurs once in every message and nowhere else in what a system sends,
// so that messages are counted by counting bytes, however they are framed.
const Marker = '~'

// stampDigits is the width of the time that follows the marker: nanoseconds, in
// hexadecimal.
const stampDigits = 16

// MinBody is the size of the smallest body.
const MinBody = len(`{"t":"~0123456789abcdef","pad":""}`)

// Body is the data of a message: a JSON object of the given size that holds the
// marker and room for the time.
func Body(size int) []byte {
	return fmt.Appendf(nil, `{"t":"%c%0*d","pad":"%s"}`, Marker, stampDigits, 0, bytes.Repeat([]byte{'x'}, max(0, size-MinBody)))
}

// Message is a message ready to be written, once it is stamped.
type Message struct {
	bytes []byte
	stamp int  // where the time is
	mask  byte // of every byte; 0: not masked
}

// newMessage finds the place of the time in what is yet unmasked.
func newMessage(b []byte) *Message {
	at := bytes.IndexByte(b, Marker)
	if at < 0 || bytes.Count(b, []byte{Marker}) != 1 || at+stampDigits >= len(b) {
		panic(fmt.Sprintf("a message must have the marker once, and the time behind it: %q", b))
	}
	return &Message{bytes: b, stamp: at + 1}
}

// Stamp writes the time into the message and returns its bytes, which are good
// until the next Stamp.
func (m *Message) Stamp(t time.Duration) []byte {
	const digits = "0123456789abcdef"
	for i, v := m.stamp+stampDigits-1, uint64(t); i >= m.stamp; i-- {
		m.bytes[i] = digits[v&15] ^ m.mask
		v >>= 4
	}
	return m.bytes
}

// Stamps calls each with the time of every message that lies whole in b.
func Stamps(b []byte, each func(time.Duration)) {
	for {
		at := bytes.IndexByte(b, Marker)
		if at < 0 || at+stampDigits >= len(b) {
			return
		}
		var v uint64
		for _, d := range b[at+1 : at+1+stampDigits] {
			switch {
			case d <= '9':
				v = v<<4 | uint64(d-'0')
			default:
				v = v<<4 | uint64(d-'a'+10)
			}
		}
		each(time.Duration(v))
		b = b[at+1+stampDigits:]
	}
}
