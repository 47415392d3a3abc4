package conn

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

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
			p := newWorld(t).connect()
			p.Write(tt.send...)
			p.Want(tt.want...)
		})
	}
}

// Autobahn 1.1 and 1.2: frames of every size of length field.
func TestFramesOfEverySize(t *testing.T) {
	for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary} {
		for _, size := range []int{125, 126, 127, 128, 65535, 65536} {
			for _, chop997 := range []bool{false, true} {
				t.Run(fmt.Sprintf("opcode %x, %d bytes, chopped %v", op, size, chop997), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					p := w.connect()
					payload := messageOf(size)
					bytes := frame{Op: op, Payload: payload}.Bytes()
					if chop997 {
						p.Write(chop(bytes, 997)...)
					} else {
						p.Write(bytes)
					}
					p.Want(aText(payload), alive)
				})
			}
		}
		t.Run(fmt.Sprintf("opcode %x, empty", op), func(t *testing.T) {
			w := newWorld(t)
			p := w.connect()
			p.Write(frame{Op: op}.Bytes())
			p.Want(aText(""), alive)
		})
	}
}

func TestFrameInSingleBytes(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	for _, size := range []int{125, 126, 300} {
		payload := messageOf(size)
		p.Write(chop(text(payload), 1)...)
		p.Want(aText(payload))
	}
}

// Many frames in one write, the last of them cut anywhere.
func TestFramesCutAnywhere(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	small, large := text(ping), frame{Op: ws.OpPing, Payload: strings.Repeat("p", 125)}.Bytes()
	all := join(small, large, small, small)
	for cut := 1; cut < len(all); cut++ {
		p.Write(all[:cut], all[cut:])
		p.Want(aText(ping), aPongFrame(strings.Repeat("p", 125)), aText(ping), aText(ping))
	}
}

// A large frame takes a buffer of its own; what comes right behind it must not
// be lost with that.
func TestSmallFramesBehindLargeOnes(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	for _, size := range []int{readBufferSize - 8, readBufferSize - 1, readBufferSize, readBufferSize + 1, 20000} {
		payload := messageOf(size)
		p.Write(join(text(ping), text(payload), text(ping), text(payload), text(ping)))
		p.Want(aText(ping), aText(payload), aText(ping), aText(payload), aText(ping))
	}
}

func TestParseHeaderWaitsForAllOfIt(t *testing.T) {
	for _, f := range []frame{
		{Op: ws.OpText, Payload: "x"}, {Op: ws.OpText, Payload: strings.Repeat("x", 200)}, {Op: ws.OpText, Announced: 1 << 40},
	} {
		whole := f.Bytes()
		header := whole[:len(whole)-len(f.Payload)]
		for n := range header {
			if _, size, err := parseHeader(header[:n]); size != 0 || err != nil {
				t.Errorf("%d of %d bytes: size %d, error %v; want none yet", n, len(header), size, err)
			}
		}
		if _, size, err := parseHeader(whole); size != len(header) || err != nil {
			t.Errorf("size %d, error %v; want %d", size, err, len(header))
		}
	}
}

// HOSTILE: frames that would fill the node's memory. Over 64 KiB ends in 1009,
// and the peer can read that even while it is still sending.
func TestTooLargeFrames(t *testing.T) {
	fragment := func(op ws.OpCode, size int, unfinished bool) []byte {
		return frame{Op: op, Payload: strings.Repeat("x", size), Unfinished: unfinished}.Bytes()
	}
	tooLarge := []want{aClose(1009, "frame is over 65536 bytes")}
	run6455(t, []case6455{
		{"text of 65537 bytes", [][]byte{fragment(ws.OpText, 65537, false)}, tooLarge},
		{"binary of 65537 bytes", [][]byte{fragment(ws.OpBinary, 65537, false)}, tooLarge},
		{"text of 8 MiB, sent whole", [][]byte{fragment(ws.OpText, 8<<20, false)}, tooLarge},
		{"two fragments", [][]byte{fragment(ws.OpText, 40000, true), fragment(ws.OpContinuation, 40000, true)}, tooLarge},
		{"one byte too much in the last fragment", [][]byte{fragment(ws.OpText, 65536, true), fragment(ws.OpContinuation, 1, false)}, tooLarge},
		{"a ping between does not count", [][]byte{fragment(ws.OpText, 65536, true), fragment(ws.OpPing, 1, false), fragment(ws.OpContinuation, 0, false)},
			[]want{aPongFrame("x"), aText(strings.Repeat("x", 65536)), alive}},
		{"the header of 65537 bytes alone", [][]byte{frame{Op: ws.OpText, Announced: 65537}.Bytes()}, tooLarge},
		{"the header of 1 TiB alone", [][]byte{frame{Op: ws.OpBinary, Announced: 1 << 40}.Bytes()}, tooLarge},
		{"the longest length there is", [][]byte{frame{Op: ws.OpText, Announced: 1<<63 - 1}.Bytes()}, tooLarge},
		{"the longest length there is, as a second fragment", [][]byte{fragment(ws.OpText, 10, true), frame{Op: ws.OpContinuation, Announced: 1<<63 - 1}.Bytes()}, tooLarge},
	})
}

func TestLengthWithTheTopBitSet(t *testing.T) {
	w := newWorld(t)
	for _, announced := range []uint64{1 << 63, 1<<64 - 1} {
		p := w.connect()
		p.Write(frame{Op: ws.OpText, Announced: announced}.Bytes())
		p.Want(aClose(1002, ""))
	}
}

// RFC 6455 §5.1: a server must not take unmasked frames.
func TestUnmaskedFrames(t *testing.T) {
	refused := []want{aClose(1002, "frames from client to server must be masked")}
	var cases []case6455
	for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary, ws.OpPing, ws.OpPong, ws.OpClose} {
		cases = append(cases, case6455{fmt.Sprintf("opcode %x", op), [][]byte{frame{Op: op, Payload: ping, Unmasked: true}.Bytes()}, refused})
	}
	cases = append(cases,
		case6455{"empty", [][]byte{frame{Op: ws.OpText, Unmasked: true}.Bytes()}, refused},
		case6455{"after a good one", [][]byte{text(ping), frame{Op: ws.OpText, Payload: ping, Unmasked: true}.Bytes()}, append([]want{aText(ping)}, refused...)},
	)
	run6455(t, cases)
}

// Autobahn 3: no extension is negotiated, so the reserved bits are 0.
func TestReservedBits(t *testing.T) {
	var cases []case6455
	for rsv := byte(1); rsv <= 7; rsv++ {
		for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary, ws.OpPing, ws.OpPong, ws.OpClose} {
			bad := frame{Op: op, Payload: ping, RSV: rsv}.Bytes()
			cases = append(cases,
				case6455{fmt.Sprintf("rsv %d, opcode %x", rsv, op), [][]byte{bad}, []want{aClose(1002, "")}},
				case6455{fmt.Sprintf("rsv %d, opcode %x, after a good frame and before another", rsv, op),
					[][]byte{join(text(ping), bad, text(ping))}, []want{aText(ping), aClose(1002, "")}},
			)
		}
		cases = append(cases, case6455{fmt.Sprintf("rsv %d, in single bytes", rsv),
			chop(frame{Op: ws.OpText, Payload: ping, RSV: rsv}.Bytes(), 1)[:6], []want{aClose(1002, "")}})
	}
	run6455(t, cases)
}

// Autobahn 4: opcodes that mean nothing.
func TestReservedOpcodes(t *testing.T) {
	var cases []case6455
	for _, op := range []ws.OpCode{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		cases = append(cases,
			case6455{fmt.Sprintf("opcode %d, empty", op), [][]byte{frame{Op: op}.Bytes()}, []want{aClose(1002, "")}},
			case6455{fmt.Sprintf("opcode %d, with a payload", op), [][]byte{frame{Op: op, Payload: "x"}.Bytes()}, []want{aClose(1002, "")}},
			case6455{fmt.Sprintf("opcode %d, between good frames", op),
				[][]byte{text(ping), frame{Op: op}.Bytes(), frame{Op: ws.OpPing}.Bytes()}, []want{aText(ping), aClose(1002, "")}},
		)
	}
	run6455(t, cases)
}

// HOSTILE: lengths in more bytes than they need (RFC 6455 §5.2), by which a proxy
// that looks into frames and the node could see different ones.
func TestLengthsMustBeMinimal(t *testing.T) {
	long := func(length uint64, eight bool) []byte {
		b := []byte{0x80 | byte(ws.OpText), 0x80 | 126}
		if eight {
			b[1] = 0x80 | 127
			b = binary.BigEndian.AppendUint64(b, length)
		} else {
			b = binary.BigEndian.AppendUint16(b, uint16(length))
		}
		return append(append(b, 0, 0, 0, 0), ping...)
	}
	for name, bytes := range map[string][]byte{
		"0 in two":          long(0, false),
		"the ping's in two": long(uint64(len(ping)), false),
		"125 in two":        long(125, false),
		"0 in eight":        long(0, true),
		"125 in eight":      long(125, true),
		"65535 in eight":    long(65535, true),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.connect()
			p.Write(bytes)
			p.Want(aClose(1002, "the frame's length takes more bytes than it needs"))
		})
	}
}
