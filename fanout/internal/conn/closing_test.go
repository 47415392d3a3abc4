package conn

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
)

// Autobahn 7: close handling.
func TestPeerCloses(t *testing.T) {
	normal := aClose(1000, "")
	cases := []case6455{
		{"7.1.1 after a message", [][]byte{text(ping), closing(1000, "")}, []want{aText(ping), normal}},
		{"7.1.2 twice", [][]byte{closing(1000, ""), closing(1000, "")}, []want{func(p *conntest.Peer) {
			p.TB.Helper()
			p.WantCloseFrame(1000, "") // what comes to the closed socket after that, TCP resets
			if rest, _ := io.ReadAll(p.In); len(rest) > 0 {
				p.TB.Errorf("% x behind the close frame", rest)
			}
		}}},
		{"7.1.2 twice, in one write", [][]byte{join(closing(1000, ""), closing(1001, ""))}, []want{normal}},
		{"7.1.3 a ping behind it", [][]byte{join(closing(1000, ""), pingFrame("late"))}, []want{normal}},
		{"7.1.4 a message behind it", [][]byte{join(closing(1000, ""), text(ping))}, []want{normal}},
		{"7.1.5 between fragments", [][]byte{join(frame{Op: ws.OpText, Payload: `{"type":`, Unfinished: true}.Bytes(), closing(1000, ""),
			frame{Op: ws.OpContinuation, Payload: `"ping"}`}.Bytes())}, []want{normal}},
		{"7.3.1 no payload", [][]byte{frame{Op: ws.OpClose}.Bytes()}, []want{normal}},
		{"7.3.2 one byte", [][]byte{frame{Op: ws.OpClose, Payload: "a"}.Bytes()}, []want{aClose(1002, "close frame with a payload of one byte")}},
		{"7.3.4 with a reason", [][]byte{closing(1000, "Hello World!")}, []want{normal}},
		{"7.3.5 a reason of 123 bytes", [][]byte{closing(1000, strings.Repeat("*", 123))}, []want{normal}},
		{"7.3.6 a reason of 124 bytes", [][]byte{closing(1000, strings.Repeat("*", 124))}, []want{aClose(1002, "control frame payload limit exceeded")}},
		{"7.5.1 a reason that is not UTF-8", [][]byte{closing(1000, "κόσμε\xed\xa0\x80edited")}, []want{aClose(1007, "")}},
		{"in single bytes", chop(closing(1000, "Hello World!"), 1), []want{normal}},
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		cases = append(cases, case6455{fmt.Sprint("7.7 code ", code), [][]byte{closing(code, "")}, []want{aClose(int(code), "")}})
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999} {
		cases = append(cases,
			case6455{fmt.Sprint("7.9 code ", code), [][]byte{closing(code, "")}, []want{aClose(1002, "")}},
			case6455{fmt.Sprint("7.9 code ", code, " with a reason"), [][]byte{closing(code, "reason")}, []want{aClose(1002, "")}})
	}
	// RFC 6455 §7.4.2 knows no codes beyond 4999. Each code a peer may end with is
	// also a label of a metric: 60,000 more of them are an attack.
	for _, code := range []uint16{5000, 65535} {
		cases = append(cases, case6455{fmt.Sprint("7.13 code ", code), [][]byte{closing(code, "")}, []want{aClose(1002, "")}})
	}
	run6455(t, cases)
}

func TestWhatComesBehindACloseFrameIsNotDone(t *testing.T) {
	w := newWorld(t)
	for code, end := range map[int][]byte{1000: closing(1000, ""), 1002: frame{Op: ws.OpText, Payload: "x", RSV: 1}.Bytes()} {
		p := w.connect()
		p.Write(join(end, text(ping), text(ping)))
		p.Want(aClose(code, ""))
		p.wait()
		if n := p.messages.Load(); n != 0 {
			t.Errorf("%d messages came through after close %d", n, code)
		}
	}
}

// RFC 6455 §7.1.1: the server closes the TCP connection, once both close frames
// have been sent, and not before the peer has had the time to answer.
func TestClosingHandshake(t *testing.T) {
	for name, answer := range map[string][]byte{
		"close frame":                       closing(1001, ""),
		"empty close frame":                 frame{Op: ws.OpClose}.Bytes(),
		"frames under way, then close":      join(text(ping), frame{Op: ws.OpBinary, Payload: strings.Repeat("x", 60_000)}.Bytes(), closing(1001, "")),
		"a close frame in pieces":           chop(closing(1001, "reason"), 3)[0],
		"illegal frames, then close":        join(frame{Op: 5, Payload: "x"}.Bytes(), frame{Op: ws.OpText, RSV: 3, Unmasked: true, Payload: "x"}.Bytes(), closing(1001, "")),
		"what is in a message is no answer": join(frame{Op: ws.OpText, Payload: string(closing(1001, ""))}.Bytes(), closing(1001, "")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.connect()
			p.conn.Close(protocol.Closef(protocol.CloseGoingAway, ""))
			p.WantCloseFrame(1001, "going away")
			p.Write(answer)
			if name == "a close frame in pieces" {
				p.Write(chop(closing(1001, "reason"), 3)[1:]...)
			}
			p.WantEOF()
			if e := p.wait(); e.By != "server" || e.Code != 1001 {
				t.Errorf("ended %+v", e)
			}
		})
	}
}

// A peer that never answers is not waited for long.
func TestClosingWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.connect()
	begin := time.Now()
	p.conn.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	p.WantCloseFrame(1001, "")
	p.WantEOF()
	if waited := time.Since(begin); waited < closeTimeout/2 || waited > conntest.Patience/2 {
		t.Errorf("the socket was closed after %v, want about %v", waited, closeTimeout)
	}
}

// HOSTILE: a connection that is closed for sending too much, and sends on as fast as it
// can. Reading that would take most of a core for as long as the node waits.
func TestFloodAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	w.admit = func() *protocol.CloseError { return protocol.Closef(protocol.CloseMessageRate, "") }
	p := w.connect()
	flood := bytes.Repeat(pingFrame(""), 10_000)
	const most = 64 << 20 // more than all buffers of two sockets hold
	sent := 0
	for sent < most {
		n, err := p.Conn.Write(flood)
		if sent += n; err != nil {
			break // the socket is closed
		}
	}
	if sent >= most {
		t.Errorf("the node has taken %d MiB after the end", sent>>20)
	}
	if e := p.wait(); e.By != "server" || e.Code != protocol.CloseMessageRate {
		t.Errorf("ended %+v", e)
	}
}

func TestEndedTellsWhoAndWhy(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name string
		end  func(*peer)
		want Ended
	}{
		{"the peer closes", func(p *peer) { p.Write(closing(3210, "good night")); p.Want(aClose(3210, "")) }, Ended{"peer", 3210, "good night"}},
		{"the peer closes without a code", func(p *peer) { p.Write(frame{Op: ws.OpClose}.Bytes()); p.Want(aClose(1000, "")) }, Ended{"peer", 1000, ""}},
		{"the peer vanishes", func(p *peer) { _ = p.Conn.Close() }, Ended{"network", 0, "the peer ended the connection without a close frame"}},
		{"the peer resets", func(p *peer) { _ = p.Conn.SetLinger(0); _ = p.Conn.Close() }, Ended{"network", 0, "connection reset by peer"}},
		{"a violation", func(p *peer) {
			p.Write(frame{Op: ws.OpText, Unmasked: true}.Bytes())
			p.Want(aClose(1002, ""))
		}, Ended{"server", 1002, "frames from client to server must be masked"}},
		{"a violation with a reason of its code's own", func(p *peer) {
			p.Write(text("\xff"))
			p.Want(aClose(1007, ""))
		}, Ended{"server", 1007, "text is not valid UTF-8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := w.connect()
			tt.end(p)
			if got := p.wait(); got != tt.want {
				t.Errorf("ended %+v, want %+v", got, tt.want)
			}
			if n := p.endings.Load(); n != 1 {
				t.Errorf("Ending was called %d times, want once", n)
			}
		})
	}
}
