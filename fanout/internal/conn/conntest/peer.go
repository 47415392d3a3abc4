// Package conntest is the other end of a connection in tests: a bare TCP connection that
// sends frames, legal or not, and reads them as a strict client does.
package conntest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Patience is far more than anything takes; only a test that fails waits for it.
const Patience = 20 * time.Second

// Peer is the other end of a connection.
type Peer struct {
	TB   testing.TB
	Conn *net.TCPConn
	In   *bufio.Reader // of Conn
}

// Dial returns both ends of a TCP connection. The test closes the server's end.
func Dial(t testing.TB) (p *Peer, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	dialed := make(chan error, 1)
	var dialing net.Conn
	go func() {
		var err error
		dialing, err = net.Dial("tcp", l.Addr().String())
		dialed <- err
	}()
	accepted, err := l.Accept()
	check(t, err)
	check(t, <-dialed)
	t.Cleanup(func() { _ = dialing.Close() })
	return &Peer{TB: t, Conn: dialing.(*net.TCPConn), In: bufio.NewReaderSize(dialing, 1<<17)}, accepted.(*net.TCPConn)
}

// Write sends each piece in a write of its own.
func (p *Peer) Write(pieces ...[]byte) {
	p.TB.Helper()
	check(p.TB, p.Conn.SetWriteDeadline(time.Now().Add(Patience)))
	for _, b := range pieces {
		if _, err := p.Conn.Write(b); err != nil {
			p.TB.Fatalf("the peer cannot write: %v", err)
		}
	}
}

// ReadFrame reads one frame as a strict client does (RFC 6455 §5.2): final, unmasked, no
// reserved bits, its length in the shortest form, text in UTF-8.
func ReadFrame(r *bufio.Reader) (op ws.OpCode, payload []byte, err error) {
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
		if !utf8.Valid(payload) {
			err = fmt.Errorf("text that is not UTF-8: %q", payload)
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

// Read returns the next frame.
func (p *Peer) Read() (ws.OpCode, []byte) {
	p.TB.Helper()
	check(p.TB, p.Conn.SetReadDeadline(time.Now().Add(Patience)))
	op, payload, err := ReadFrame(p.In)
	if err != nil {
		p.TB.Fatalf("reading a frame: %v", err)
	}
	return op, payload
}

// PeekOp is the opcode of the next frame, which is left to be read.
func (p *Peer) PeekOp() ws.OpCode {
	p.TB.Helper()
	check(p.TB, p.Conn.SetReadDeadline(time.Now().Add(Patience)))
	b, err := p.In.Peek(1)
	check(p.TB, err)
	return ws.OpCode(b[0] & 0x0F)
}

// Want is what a peer expects next.
type Want func(*Peer)

// Want expects one after the other.
func (p *Peer) Want(wants ...Want) {
	p.TB.Helper()
	for _, w := range wants {
		w(p)
	}
}

// WantText expects a text frame, to the byte.
func WantText(want string) Want {
	return func(p *Peer) {
		p.TB.Helper()
		if op, got := p.Read(); op != ws.OpText || string(got) != want {
			p.TB.Fatalf("got frame %x %q\nwant text %s", op, got, want)
		}
	}
}

// WantPing expects a ping frame as the node sends them.
func WantPing(p *Peer) {
	p.TB.Helper()
	if op, payload := p.Read(); op != ws.OpPing || len(payload) != 0 {
		p.TB.Fatalf("got frame %x %q, want an empty ping", op, payload)
	}
}

// WantPong expects a pong frame.
func WantPong(payload string) Want {
	return func(p *Peer) {
		p.TB.Helper()
		if op, got := p.Read(); op != ws.OpPong || string(got) != payload {
			p.TB.Fatalf("got frame %x %q, want a pong frame with %q", op, got, payload)
		}
	}
}

// WantClose expects a close frame, with any reason if reason is "", and then, having said
// that the peer will send no more, the end of the stream: no reset, which could take the
// close frame with it.
func WantClose(code int, reason string) Want {
	return func(p *Peer) {
		p.TB.Helper()
		p.WantCloseFrame(code, reason)
		check(p.TB, p.Conn.CloseWrite())
		p.WantEOF()
	}
}

// WantCloseFrame expects a close frame, with any reason if reason is "".
func (p *Peer) WantCloseFrame(code int, reason string) {
	p.TB.Helper()
	op, got := p.Read()
	if op != ws.OpClose {
		p.TB.Fatalf("got frame %x %q, want close %d", op, got, code)
	}
	if c := int(binary.BigEndian.Uint16(got)); c != code {
		p.TB.Fatalf("closed with %d %q, want %d", c, got[2:], code)
	}
	if reason != "" && string(got[2:]) != reason {
		p.TB.Fatalf("closed with the reason %q, want %q", got[2:], reason)
	}
}

// WantEOF expects the end of the stream.
func (p *Peer) WantEOF() {
	p.TB.Helper()
	check(p.TB, p.Conn.SetReadDeadline(time.Now().Add(Patience)))
	if b, err := p.In.ReadByte(); !errors.Is(err, io.EOF) {
		p.TB.Fatalf("got byte %#x, error %v, want the end of the stream", b, err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
