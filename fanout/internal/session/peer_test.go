package session

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"fleetwire/pkg/protocol"
)

// frame is a frame from the peer, legal or not. The zero value but for op and
// payload is legal.
type frame struct {
	op         ws.OpCode
	payload    string
	unfinished bool
	rsv        byte
	unmasked   bool
	announced  uint64 // a length other than the payload's
}

var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

func (f frame) bytes() []byte {
	first := byte(f.op) | f.rsv<<4
	if !f.unfinished {
		first |= 0x80
	}
	var masked byte = 0x80
	if f.unmasked {
		masked = 0
	}
	length := uint64(len(f.payload))
	if f.announced != 0 {
		length = f.announced
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
	payload := []byte(f.payload)
	if !f.unmasked {
		b = append(b, mask[:]...)
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
	}
	return append(b, payload...)
}

func text(payload string) []byte { return frame{op: ws.OpText, payload: payload}.bytes() }

func closing(code uint16, reason string) []byte {
	payload := string(binary.BigEndian.AppendUint16(nil, code)) + reason
	return frame{op: ws.OpClose, payload: payload}.bytes()
}

// join makes one write of several frames.
func join(frames ...[]byte) []byte {
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}

// chop makes writes of n bytes each.
func chop(b []byte, n int) [][]byte {
	var pieces [][]byte
	for len(b) > n {
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return append(pieces, b)
}

func (p *peer) write(pieces ...[]byte) {
	p.t.Helper()
	check(p.t, p.conn.SetWriteDeadline(time.Now().Add(patience)))
	for _, b := range pieces {
		if _, err := p.conn.Write(b); err != nil {
			p.t.Fatalf("the peer cannot write: %v", err)
		}
	}
}

// readFrame reads one frame as a strict client does (RFC 6455 §5.2): final,
// unmasked, no reserved bits, its length in the shortest form, text in UTF-8.
func readFrame(r *bufio.Reader) (op ws.OpCode, payload []byte, err error) {
	var header [2]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	if header[0]&0xF0 != 0x80 || header[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("malformed header % x", header)
	}
	length := uint64(header[1])
	if n := map[uint64]int{126: 2, 127: 8}[length]; n > 0 {
		extended := make([]byte, 8)
		if _, err := io.ReadFull(r, extended[8-n:]); err != nil {
			return 0, nil, err
		}
		short := map[int]uint64{2: 126, 8: 1 << 16}[n]
		if length = binary.BigEndian.Uint64(extended); length < short {
			return 0, nil, fmt.Errorf("length %d in %d bytes", length, n)
		}
	}
	payload = make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	switch op = ws.OpCode(header[0] & 0x0F); op {
	case ws.OpText:
		if !utf8.Valid(payload) || !json.Valid(payload) {
			err = fmt.Errorf("text that is no JSON: %q", payload)
		}
	case ws.OpPing, ws.OpPong, ws.OpClose:
		if length > 125 || op == ws.OpClose && (length < 2 || !utf8.Valid(payload[2:])) {
			err = fmt.Errorf("malformed control frame %x %q", op, payload)
		}
	default:
		err = fmt.Errorf("unexpected opcode %x", op)
	}
	return op, payload, err
}

func (p *peer) read() (ws.OpCode, []byte) {
	p.t.Helper()
	check(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	op, payload, err := readFrame(p.in)
	if err != nil {
		p.t.Fatalf("reading a frame: %v", err)
	}
	return op, payload
}

// peekOp is the opcode of the next frame, which is left to be read.
func (p *peer) peekOp() ws.OpCode {
	p.t.Helper()
	check(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	b, err := p.in.Peek(1)
	check(p.t, err)
	return ws.OpCode(b[0] & 0x0F)
}

// want is what a peer expects next.
type want func(*peer)

func (p *peer) want(wants ...want) {
	p.t.Helper()
	for _, w := range wants {
		w(p)
	}
}

func aText(want string) want {
	return func(p *peer) {
		p.t.Helper()
		if op, got := p.read(); op != ws.OpText || string(got) != want {
			p.t.Fatalf("got frame %x %q\nwant text %s", op, got, want)
		}
	}
}

func anAck(requestID string) want { return aText(`{"type":"ack","requestId":"` + requestID + `"}`) }

func aPongFrame(payload string) want {
	return func(p *peer) {
		p.t.Helper()
		if op, got := p.read(); op != ws.OpPong || string(got) != payload {
			p.t.Fatalf("got frame %x %q, want a pong frame with %q", op, got, payload)
		}
	}
}

// anError wants an error frame with the code, and the requestId where that is
// not "".
func anError(code protocol.Code, requestID string) want {
	return func(p *peer) {
		p.t.Helper()
		_, got := p.read()
		var e struct{ Type, RequestID, Code, Message string }
		if err := json.Unmarshal(got, &e); err != nil || e.Type != "error" || e.Code != string(code) || e.RequestID != requestID || e.Message == "" {
			p.t.Fatalf("got %q\nwant an error %s with requestId %q", got, code, requestID)
		}
		if has := strings.Contains(string(got), `"requestId"`); has != (requestID != "") {
			p.t.Fatalf("got %s\nwhich has a requestId: %v", got, has)
		}
	}
}

// aClose wants a close frame and then, having said that it will send no more,
// the end of the stream: no reset, which could take the close frame with it.
func aClose(code int, reason string) want {
	return func(p *peer) {
		p.t.Helper()
		p.wantCloseFrame(code, reason)
		check(p.t, p.conn.CloseWrite())
		p.wantEOF()
	}
}

func (p *peer) wantCloseFrame(code int, reason string) {
	p.t.Helper()
	op, got := p.read()
	if op != ws.OpClose {
		p.t.Fatalf("got frame %x %q, want close %d", op, got, code)
	}
	if c := int(binary.BigEndian.Uint16(got)); c != code {
		p.t.Fatalf("closed with %d %q, want %d", c, got[2:], code)
	}
	if reason != "" && string(got[2:]) != reason {
		p.t.Fatalf("closed with the reason %q, want %q", got[2:], reason)
	}
}

func (p *peer) wantEOF() {
	p.t.Helper()
	check(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	if b, err := p.in.ReadByte(); !errors.Is(err, io.EOF) {
		p.t.Fatalf("got byte %#x, error %v, want the end of the stream", b, err)
	}
}

func (p *peer) wantWelcome() {
	p.t.Helper()
	if op, got := p.read(); op != ws.OpText || !strings.HasPrefix(string(got), `{"type":"welcome",`) {
		p.t.Fatalf("got frame %x %q, want a welcome", op, got)
	}
}

const (
	ping = `{"type":"ping"}`
	pong = `{"type":"pong"}`
)

// alive: the connection is open, and all that was sent before is dealt with.
func alive(p *peer) {
	p.t.Helper()
	p.write(text(ping))
	p.want(aText(pong))
}

// case6455 is one case of RFC 6455, on a connection of its own.
type case6455 struct {
	name string
	send [][]byte // one write each
	want []want
}

func run6455(t *testing.T, cases []case6455) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newWorld(t).connect(newWorld(t).grant("device-1"))
			p.write(tt.send...)
			p.want(tt.want...)
		})
	}
}
