package client

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
)

// bytesConn is a connection that says some bytes and takes any.
type bytesConn struct {
	net.Conn
	io.Reader
}

func (b bytesConn) Read(p []byte) (int, error)       { return b.Reader.Read(p) }
func (b bytesConn) Write(p []byte) (int, error)      { return len(p), nil }
func (b bytesConn) Close() error                     { return nil }
func (b bytesConn) SetReadDeadline(time.Time) error  { return nil }
func (b bytesConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzLink: whatever comes over the wire, reading ends with an error and no panic, and
// a message that is taken has data which is JSON and was in the bytes.
func FuzzLink(f *testing.F) {
	f.Add(protocol.AppendTextFrame(nil, protocol.AppendMessage(nil, "c", "a", []byte(`{}`), []byte(`{"n":1}`))))
	f.Add(protocol.AppendTextFrame(protocol.PingFrame, protocol.AppendAck(nil, "1")))
	f.Add(protocol.AppendCloseFrame(protocol.AppendTextFrame(nil, protocol.AppendGoingAway(nil, 5)), 4002, "expired"))
	f.Add(protocol.AppendTextFrame(nil, []byte(`{"type":"message","channel":"c","from":"a","data":1,"command":{"id":"cmd_1","attempt":2,"timeoutMs":30000}}`)))
	f.Add(protocol.AppendTextFrame(nil, []byte(`{"type":"message","data":1,"command":{"id":"\ud800","attempt":1e3,"timeoutMs":-9223372036854775808}}`)))
	f.Add(protocol.AppendTextFrame(nil, []byte(`{"type":"command_cancelled","command":"cmd_1"}`)))
	f.Add([]byte{0x01, 2, '{', '"', 0x89, 1, 'x', 0x80, 1, '}'})
	f.Add([]byte{0x81, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, wire []byte) {
		conn := &pulse{Conn: bytesConn{Reader: bytes.NewReader(wire)}}
		l := newLink(conn, conn, 1)
		defer l.end()
		for {
			b, err := l.next()
			if err != nil {
				return
			}
			s, err := parseServerFrame(b)
			if err != nil {
				continue
			}
			if s.Command != nil {
				if ref, err := parseCommandRef(s.Command); err == nil && ref.id == "" {
					t.Errorf("%q is taken for a command", s.Command)
				}
			}
			if s.Data != nil && (!json.Valid(s.Data) || !bytes.Contains(b, s.Data)) {
				t.Errorf("%q has the data %q", b, s.Data)
			}
		}
	})
}
