package conn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
)

// maxCloseCode is the last of the codes that RFC 6455 §7.4.2 allots.
const maxCloseCode = 4999

// peerClosed is how a peer's close frame ends read.
type peerClosed struct {
	code   ws.StatusCode
	reason string
}

func (p *peerClosed) Error() string {
	return fmt.Sprintf("closed by the peer: %d %s", p.code, p.reason)
}

// headerReader is what parsing a header works on; pooled so that it allocates nothing.
type headerReader struct {
	bytes.Reader
	buffer [ws.MaxHeaderSize]byte
}

var headerReaders = sync.Pool{New: func() any { return new(headerReader) }}

// parseHeader reads the frame header at the beginning of b. A size of 0 means
// that it is not all there yet.
func parseHeader(b []byte) (h ws.Header, size int, err error) {
	r := headerReaders.Get().(*headerReader)
	defer headerReaders.Put(r)
	r.Reset(b)
	h, err = ws.ReadHeaderBuffer(&r.Reader, r.buffer[:])
	size = len(b) - r.Len()
	r.Reset(nil)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return h, 0, nil
	}
	if err == nil && !minimal(b[1], h.Length) {
		err = errNotMinimal
	}
	return h, size, err
}

var errNotMinimal = errors.New("the frame's length takes more bytes than it needs")

// minimal says whether a length is written in the fewest bytes, as it must be (RFC
// 6455 §5.2). second is the header's second byte.
func minimal(second byte, length int64) bool {
	switch second & 0x7f {
	case 126:
		return length > 125
	case 127:
		return length > math.MaxUint16
	}
	return true
}

// next does what the first frame in b asks, if it is all there, and returns how
// many bytes it took. An error is a *protocol.CloseError for a violation of
// RFC 6455 or of the protocol, or *peerClosed. now is Options.Ticks.
func (c *Conn) next(b []byte, now time.Duration) (int, error) {
	h, size, err := parseHeader(b)
	if err == nil && size > 0 {
		err = ws.CheckHeader(h, c.state())
	}
	if err != nil {
		return 0, protocol.Closef(protocol.CloseProtocolError, "%v", err)
	}
	if size == 0 {
		c.in.need = 0
		return 0, nil
	}
	// Refused by what the header announces, before the bytes have come.
	if h.Length > protocol.MaxFrameBytes || (!h.OpCode.IsControl() && h.Length+int64(len(c.in.fragments)) > protocol.MaxFrameBytes) {
		return 0, protocol.Closef(protocol.CloseTooBig, "")
	}
	whole := size + int(h.Length)
	if len(b) < whole {
		c.in.need = int32(whole)
		return 0, nil
	}
	c.in.need = 0
	payload := b[size:whole]
	ws.Cipher(payload, h.Mask, 0)
	c.received++
	if h.OpCode != ws.OpClose {
		if refused := c.handler.Admit(now); refused != nil {
			return 0, refused
		}
	}
	switch h.OpCode {
	case ws.OpPing:
		c.sendFrame(protocol.AppendPongFrame(nil, payload))
	case ws.OpPong:
	case ws.OpClose:
		err = c.peerClose(payload)
	default:
		err = c.data(h, payload)
	}
	return whole, err
}

func (c *Conn) state() ws.State {
	if c.in.fragmented {
		return ws.StateServerSide | ws.StateFragmented
	}
	return ws.StateServerSide
}

// data takes a text, binary or continuation frame (RFC 6455 §5.4).
func (c *Conn) data(h ws.Header, payload []byte) error {
	if h.OpCode != ws.OpContinuation {
		c.in.text = h.OpCode == ws.OpText
	}
	if !h.Fin || c.in.fragmented {
		c.in.fragments = append(c.in.fragments, payload...)
		c.in.fragmented = !h.Fin
		if !h.Fin {
			return nil
		}
		payload = c.in.fragments
		c.in.fragments = nil
	}
	if c.in.text && !utf8.Valid(payload) { // RFC 6455 §8.1
		return protocol.Closef(protocol.CloseInvalidPayload, "")
	}
	c.handler.Message(payload)
	return nil
}

// peerClose checks a close frame (RFC 6455 §5.5.1, §7.4).
func (c *Conn) peerClose(payload []byte) error {
	c.in.peerClosing = true
	if len(payload) == 0 {
		return &peerClosed{code: ws.StatusNormalClosure}
	}
	if len(payload) == 1 {
		return protocol.Closef(protocol.CloseProtocolError, "close frame with a payload of one byte")
	}
	code, reason := ws.ParseCloseFrameData(payload)
	if code >= 1012 && code <= 1014 && utf8.ValidString(reason) {
		return &peerClosed{code, reason} // registered with IANA since RFC 6455; gobwas/ws does not know them
	}
	switch err := ws.CheckCloseFrameData(code, reason); {
	case errors.Is(err, ws.ErrProtocolInvalidUTF8):
		return protocol.Closef(protocol.CloseInvalidPayload, "")
	case err != nil:
		return protocol.Closef(protocol.CloseProtocolError, "%v", err)
	case code > maxCloseCode:
		return protocol.Closef(protocol.CloseProtocolError, "close code %d; there is none over %d", code, maxCloseCode)
	}
	return &peerClosed{code, reason}
}

// skip returns how many of the bytes in b can be dropped, 0 while what there is
// does not tell, and notes a close frame. Where a header makes no sense, nothing
// behind it does: all of it is dropped.
func (c *Conn) skip(b []byte) int {
	c.in.need = 0
	if c.end.skipping > 0 {
		n := min(c.end.skipping, int64(len(b)))
		c.end.skipping -= n
		return int(n)
	}
	h, size, err := parseHeader(b)
	switch {
	case err != nil:
		c.end.skipping = math.MaxInt64
		return len(b)
	case size == 0:
		return 0
	case h.OpCode != ws.OpClose || h.Length > protocol.MaxControlPayloadBytes:
		c.end.skipping = h.Length
		return size
	}
	whole := size + int(h.Length)
	if len(b) < whole {
		c.in.need = int32(whole)
		return 0
	}
	c.in.peerClosing = true
	return whole
}
