package session

import (
	"encoding/binary"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// plain is a legal frame whose mask is 0, so that a fuzzer can read and change
// the payload.
func plain(op ws.OpCode, payload string) []byte {
	b := []byte{0x80 | byte(op)}
	if len(payload) <= 125 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(len(payload)))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// FuzzFrames sends any bytes after the handshake. Whatever they are, the session
// ends when the peer is done, panics never, and answers in whole frames: the
// welcome first, nothing behind a close.
func FuzzFrames(f *testing.F) {
	publish, _ := publishOf(200)
	for _, seed := range [][]byte{
		{}, {0x81}, {0xff, 0xff, 0xff},
		plain(ws.OpText, ping),
		plain(ws.OpBinary, publish),
		plain(ws.OpText, `{"type":"subscribe","channel":"devices/*","includeSenderMetadata":true,"requestId":"r"}`),
		plain(ws.OpText, `{"type":"unsubscribe","channel":"devices/\u0041","requestId":"\ud83d\ude00"}`),
		plain(ws.OpText, `{"type":"publish","channel":"devices/a","data":{"a":[1,2.5e3,"\n"]}}`),
		join(plain(ws.OpPing, "p"), plain(ws.OpPong, "p"), plain(ws.OpClose, "\x03\xe8bye"), plain(ws.OpText, ping)),
		join([]byte{0x01, 0x80, 0, 0, 0, 0}, plain(ws.OpPing, ""), plain(ws.OpContinuation, ping)),
		frame{op: ws.OpText, announced: 1 << 63}.bytes(),
		frame{op: ws.OpText, announced: 65537, payload: ping}.bytes(),
		frame{op: ws.OpText, payload: ping, rsv: 4}.bytes(),
		frame{op: ws.OpText, payload: ping, unmasked: true}.bytes(),
		plain(ws.OpText, "\xed\xa0\x80"),
	} {
		f.Add(seed, uint16(len(seed)/2))
	}
	f.Fuzz(func(t *testing.T, sent []byte, cut uint16) {
		w := newWorld(t)
		p := w.wire(w.grant("device-1"), wiring{})
		at := min(int(cut), len(sent))
		// The session may close at any byte, and reset what comes after that.
		_, _ = p.conn.Write(sent[:at])
		_, _ = p.conn.Write(sent[at:])
		_ = p.conn.CloseWrite()

		p.wantWelcome()
		check(t, p.conn.SetReadDeadline(time.Now().Add(patience)))
		closed := false
		for {
			op, payload, err := readFrame(p.in)
			if errors.Is(err, io.EOF) || closed && errors.Is(err, syscall.ECONNRESET) {
				break
			}
			if err != nil || closed {
				t.Fatalf("frame %x %q, error %v, after a close: %v", op, payload, err, closed)
			}
			closed = op == ws.OpClose
		}
		e := p.wait()
		if closed != (e.By != "network") {
			t.Fatalf("ended %+v, with a close frame: %v", e, closed)
		}
		if e.By == "server" && e.Code == 1011 || len(w.log.lines("panic")) > 0 {
			t.Fatalf("it panicked: %s", w.log.lines("panic"))
		}
		for name, n := range w.interest.subscribers {
			if n != 0 {
				t.Fatalf("%q still has %d subscribers", name, n)
			}
		}
	})
}
