package session

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/fanout/internal/conn/conntest"
)

// FuzzFrames sends any bytes after the handshake. Whatever they are, the session
// ends when the peer is done, panics never, and answers in whole frames: the
// welcome first, nothing behind a close.
func FuzzFrames(f *testing.F) {
	plain := conntest.Plain
	for _, seed := range [][]byte{
		{}, {0x81}, {0xff, 0xff, 0xff},
		plain(ws.OpText, ping),
		plain(ws.OpBinary, `{"type":"publish","channel":"devices/a","data":"`+strings.Repeat("x", 150)+`","requestId":"r"}`),
		plain(ws.OpText, `{"type":"subscribe","channel":"devices/*","includeSenderMetadata":true,"requestId":"r"}`),
		plain(ws.OpText, `{"type":"subscribe","channel":"devices/a","commands":"confirm","requestId":"r"}`),
		join(plain(ws.OpText, `{"type":"subscribe","channel":"devices/a","commands":"confirm"}`), plain(ws.OpText, `{"type":"unsubscribe","channel":"devices/a"}`)),
		plain(ws.OpText, `{"type":"answer","command":"cmd_1","status":"running","data":{"percent":4e1},"requestId":"r"}`),
		plain(ws.OpText, `{"type":"answer","command":"\ud800","status":"sent"}`),
		plain(ws.OpText, `{"type":"unsubscribe","channel":"devices/\u0041","requestId":"\ud83d\ude00"}`),
		plain(ws.OpText, `{"type":"publish","channel":"devices/a","data":{"a":[1,2.5e3,"\n"]}}`),
		plain(ws.OpText, `{"type":"will","channel":"devices/a","data":{"gone":true},"delayMs":5}`),
		join(plain(ws.OpPing, "p"), plain(ws.OpPong, "p"), plain(ws.OpClose, "\x03\xe8bye"), plain(ws.OpText, ping)),
		join([]byte{0x01, 0x80, 0, 0, 0, 0}, plain(ws.OpPing, ""), plain(ws.OpContinuation, ping)),
		frame{Op: ws.OpText, Announced: 1 << 63}.Bytes(),
		frame{Op: ws.OpText, Announced: 65537, Payload: ping}.Bytes(),
		frame{Op: ws.OpText, Payload: ping, RSV: 4}.Bytes(),
		frame{Op: ws.OpText, Payload: ping, Unmasked: true}.Bytes(),
		plain(ws.OpText, "\xed\xa0\x80"),
	} {
		f.Add(seed, uint16(len(seed)/2))
	}
	f.Fuzz(func(t *testing.T, sent []byte, cut uint16) {
		w := newWorld(t)
		p := w.start(w.grant("device-1"), nil)
		at := min(int(cut), len(sent))
		// The session may close at any byte, and reset what comes after that.
		_, _ = p.Conn.Write(sent[:at])
		_, _ = p.Conn.Write(sent[at:])
		_ = p.Conn.CloseWrite()

		p.Want(aWelcome)
		check(t, p.Conn.SetReadDeadline(time.Now().Add(conntest.Patience)))
		closed := false
		for {
			op, payload, err := conntest.ReadFrame(p.In)
			if errors.Is(err, io.EOF) || closed && errors.Is(err, syscall.ECONNRESET) {
				break
			}
			if op == ws.OpText && !json.Valid(payload) {
				t.Fatalf("text that is no JSON: %q", payload)
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
