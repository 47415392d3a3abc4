package conn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// Autobahn 2: pings and pongs.
func TestPingFrames(t *testing.T) {
	long := strings.Repeat("p", 125)
	var ten [][]byte
	var tenPongs []want
	for i := range 10 {
		ten = append(ten, pingFrame(fmt.Sprint("payload-", i)))
		tenPongs = append(tenPongs, aPongFrame(fmt.Sprint("payload-", i)))
	}
	run6455(t, []case6455{
		{"2.1 empty", [][]byte{pingFrame("")}, []want{aPongFrame(""), alive}},
		{"2.2 small text", [][]byte{pingFrame("hello")}, []want{aPongFrame("hello")}},
		{"2.3 not UTF-8", [][]byte{pingFrame("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")}, []want{aPongFrame("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")}},
		{"2.4 125 bytes", [][]byte{pingFrame(long)}, []want{aPongFrame(long)}},
		{"2.5 126 bytes", [][]byte{pingFrame(long + "p")}, []want{aClose(1002, "control frame payload limit exceeded")}},
		{"2.6 125 bytes, in single bytes", chop(pingFrame(long), 1), []want{aPongFrame(long)}},
		{"2.7 a pong that nobody asked for", [][]byte{frame{Op: ws.OpPong}.Bytes()}, []want{alive}},
		{"2.8 the same with a payload", [][]byte{frame{Op: ws.OpPong, Payload: "unsolicited"}.Bytes()}, []want{alive}},
		{"2.9 the same, then a ping", [][]byte{frame{Op: ws.OpPong, Payload: "unsolicited"}.Bytes(), pingFrame("p")}, []want{aPongFrame("p"), alive}},
		{"2.10 ten pings in ten writes", ten, tenPongs},
		{"2.10 ten pings in one write", [][]byte{join(ten...)}, tenPongs},
		{"2.11 ten pings in single bytes", chop(join(ten...), 1), tenPongs},
		{"a pong of 126 bytes", [][]byte{frame{Op: ws.OpPong, Payload: long + "p"}.Bytes()}, []want{aClose(1002, "")}},
	})
}

// Autobahn 5: fragmentation.
func TestFragments(t *testing.T) {
	first := func(s string) []byte { return frame{Op: ws.OpText, Payload: s, Unfinished: true}.Bytes() }
	middle := func(s string) []byte { return frame{Op: ws.OpContinuation, Payload: s, Unfinished: true}.Bytes() }
	last := func(s string) []byte { return frame{Op: ws.OpContinuation, Payload: s}.Bytes() }
	unexpected := aClose(1002, "unexpected continuation data frame")
	run6455(t, []case6455{
		{"5.1 a ping in two", [][]byte{frame{Op: ws.OpPing, Payload: "a", Unfinished: true}.Bytes(), last("b")}, []want{aClose(1002, "control frame is not final")}},
		{"5.2 a pong in two", [][]byte{frame{Op: ws.OpPong, Payload: "a", Unfinished: true}.Bytes(), last("b")}, []want{aClose(1002, "")}},
		{"a close in two", [][]byte{join(frame{Op: ws.OpClose, Payload: "\x03\xe8", Unfinished: true}.Bytes(), last("b"))}, []want{aClose(1002, "")}},
		{"5.3 text in two", [][]byte{first(`{"type":`), last(`"ping"}`)}, []want{aText(ping), alive}},
		{"5.4 text in two, one write", [][]byte{join(first(`{"type":`), last(`"ping"}`))}, []want{aText(ping), alive}},
		{"5.5 text in two, single bytes", chop(join(first(`{"type":`), last(`"ping"}`)), 1), []want{aText(ping), alive}},
		{"5.6 a ping between", [][]byte{first(`{"type":`), pingFrame("p"), last(`"ping"}`)}, []want{aPongFrame("p"), aText(ping), alive}},
		{"5.7 a ping between, one write", [][]byte{join(first(`{"type":`), pingFrame("p"), last(`"ping"}`))}, []want{aPongFrame("p"), aText(ping)}},
		{"5.8 a ping between, single bytes", chop(join(first(`{"type":`), pingFrame("p"), last(`"ping"}`)), 1), []want{aPongFrame("p"), aText(ping)}},
		{"5.9 a last fragment of nothing", [][]byte{last("x"), text(ping)}, []want{unexpected}},
		{"5.12 a middle fragment of nothing", [][]byte{middle("x"), text(ping)}, []want{unexpected}},
		{"5.15 a fragment after the last", [][]byte{first(`{"type":`), last(`"ping"}`), middle("x"), text(ping)}, []want{aText(ping), unexpected}},
		{"5.18 text within text", [][]byte{first(`{"type":`), text(ping)}, []want{aClose(1002, "unexpected non-continuation data frame")}},
		{"binary within text", [][]byte{first(`{"type":`), frame{Op: ws.OpBinary, Payload: ping}.Bytes()}, []want{aClose(1002, "")}},
		{"a new unfinished text within text", [][]byte{first(`{"type":`), first(`{"type":`)}, []want{aClose(1002, "")}},
		{"5.19 text in five, pings between", [][]byte{first(`{"ty`), middle(`pe":`), pingFrame("1"), middle(``), middle(`"pin`), pingFrame("2"), last(`g"}`)},
			[]want{aPongFrame("1"), aPongFrame("2"), aText(ping), alive}},
		{"5.20 the same in one write", [][]byte{join(first(`{"ty`), middle(`pe":`), pingFrame("1"), middle(``), middle(`"pin`), pingFrame("2"), last(`g"}`))},
			[]want{aPongFrame("1"), aPongFrame("2"), aText(ping), alive}},
		{"all of it in the last", [][]byte{first(``), middle(``), last(ping)}, []want{aText(ping)}},
		{"all of it in the first", [][]byte{first(ping), middle(``), last(``)}, []want{aText(ping)}},
		{"three empty ones", [][]byte{first(``), middle(``), last(``)}, []want{aText(""), alive}},
		{"one message after another", [][]byte{first(`{"type":`), last(`"ping"}`), first(`{"typ`), last(`e":"ping"}`)}, []want{aText(ping), aText(ping), alive}},
		{"binary in two", [][]byte{frame{Op: ws.OpBinary, Payload: `{"type":`, Unfinished: true}.Bytes(), last(`"ping"}`)}, []want{aText(ping), alive}},
	})
}

// Fragments are gathered aside: a message in 1,000 of them is what was sent.
func TestMessageInManyFragments(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	payload := messageOf(60_000)
	var frames [][]byte
	for i, piece := range chop([]byte(payload), 61) {
		op := ws.OpContinuation
		if i == 0 {
			op = ws.OpText
		}
		frames = append(frames, frame{Op: op, Payload: string(piece), Unfinished: true}.Bytes())
		if i%100 == 0 {
			frames = append(frames, frame{Op: ws.OpPong, Payload: "pong"}.Bytes())
		}
	}
	p.Write(join(frames...), frame{Op: ws.OpContinuation}.Bytes())
	p.Want(aText(payload))
}

// utf8Samples are from the examples that Autobahn's section 6 goes through:
// what is a sequence of code points, and what is not (RFC 3629).
var utf8Samples = []struct {
	name, text string
	valid      bool
}{
	{"ASCII", "hello", true},
	{"Greek", "κόσμε", true},
	{"first of 2 bytes", "\u0080", true}, {"last of 2 bytes", "\u07ff", true},
	{"first of 3 bytes", "\u0800", true}, {"last of 3 bytes", "\uffff", true},
	{"first of 4 bytes", "\U00010000", true}, {"last of all", "\U0010ffff", true},
	{"before the surrogates", "\ud7ff", true}, {"after the surrogates", "\ue000", true},
	{"replacement character", "\ufffd", true},
	{"beyond the last", "\xf4\x90\x80\x80", false},
	{"continuation alone", "\x80", false}, {"last continuation alone", "\xbf", false},
	{"six continuations", "\x80\xbf\x80\xbf\x80\xbf", false},
	{"first byte of 2 alone", "\xc2 ", false}, {"first byte of 3 alone", "\xe0 ", false}, {"first byte of 4 alone", "\xf0 ", false},
	{"one byte of 3 missing", "\xe2\x82 ", false}, {"one byte of 4 missing", "\xf0\x9f\x98 ", false},
	{"never a byte, fe", "\xfe", false}, {"never a byte, ff", "\xff", false}, {"first byte of 5", "\xf8\x88\x80\x80\x80", false},
	{"overlong slash in 2", "\xc0\xaf", false}, {"overlong slash in 3", "\xe0\x80\xaf", false}, {"overlong slash in 4", "\xf0\x80\x80\xaf", false},
	{"overlong NUL", "\xc0\x80", false}, {"largest overlong in 3", "\xe0\x9f\xbf", false},
	{"first surrogate", "\xed\xa0\x80", false}, {"last surrogate", "\xed\xbf\xbf", false}, {"surrogate pair", "\xed\xa0\x80\xed\xb0\x80", false},
	{"Greek, then a surrogate, then ASCII", "κόσμε\xed\xa0\x80edited", false},
}

// Autobahn 6: text must be UTF-8, else 1007. Binary need not be.
func TestUTF8(t *testing.T) {
	for _, sample := range utf8Samples {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			message := `{"type":"ping","x":"` + sample.text + `"}`
			w.take = func(p *peer, got []byte) {
				if string(got) != message {
					t.Errorf("got %q, want %q", got, message)
				}
				p.conn.Send(func(dst []byte) []byte { return append(dst, "taken"...) })
			}
			taken := aText("taken")
			p := w.connect()
			p.Write(frame{Op: ws.OpBinary, Payload: message}.Bytes())
			p.Want(taken)

			// Cut in two at every byte, code points too.
			begin := strings.Index(message, sample.text)
			for cut := begin; cut <= begin+len(sample.text); cut++ {
				p := w.connect()
				p.Write(frame{Op: ws.OpText, Payload: message[:cut], Unfinished: true}.Bytes(), frame{Op: ws.OpContinuation, Payload: message[cut:]}.Bytes())
				if sample.valid {
					p.Want(taken)
				} else {
					p.Want(aClose(1007, "text is not valid UTF-8"))
				}
			}

			p = w.connect()
			p.Write(text(message))
			if sample.valid {
				p.Want(taken)
			} else {
				p.Want(aClose(1007, ""))
			}
		})
	}
	run6455(t, []case6455{
		{"a code point left unfinished at the end", [][]byte{text("{\"type\":\"ping\"}\xe2\x82")}, []want{aClose(1007, "")}},
		{"6.1 empty", [][]byte{text("")}, []want{aText(""), alive}},
		{"binary cut within a code point", [][]byte{frame{Op: ws.OpBinary, Payload: "{\"type\":\"ping\",\"x\":\"\xe2", Unfinished: true}.Bytes(),
			frame{Op: ws.OpContinuation, Payload: "\x82\xac\"}"}.Bytes()}, []want{aText(`{"type":"ping","x":"€"}`), alive}},
	})
}
