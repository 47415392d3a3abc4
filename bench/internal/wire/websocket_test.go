package wire

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gobwas/ws"
)

// unframed is what a server reads of a client's frame.
func unframed(t *testing.T, frame []byte) (ws.OpCode, []byte) {
	t.Helper()
	r := bytes.NewReader(frame)
	header, err := ws.ReadHeader(r)
	if err != nil || int64(r.Len()) != header.Length || !header.Masked || !header.Fin {
		t.Fatalf("%x: %+v, then %d bytes, %v; want one whole masked frame", frame, header, r.Len(), err)
	}
	payload := bytes.Clone(frame[len(frame)-r.Len():])
	ws.Cipher(payload, header.Mask, 0)
	return header.OpCode, payload
}

func TestClientFrame(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte{'p'}, size)
		op, got := unframed(t, ClientFrame(OpBinary, payload))
		if op != ws.OpBinary || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes came out as %d, opcode %v", size, len(got), op)
		}
	}
}

func TestAStampedFrameUnmasksToTheStamp(t *testing.T) {
	_, payload := unframed(t, framed(OpText, Body(200)).Stamp(0x1234567890abcdef))
	if !bytes.Contains(payload, []byte(`"~1234567890abcdef"`)) {
		t.Errorf("payload %q", payload)
	}
}

// stream is frames of all lengths, fragments and control frames among them.
func stream(t *testing.T) (b []byte, want string) {
	var out bytes.Buffer
	write := func(f ws.Frame) {
		if err := ws.WriteFrame(&out, f); err != nil {
			t.Fatal(err)
		}
		op := f.Header.OpCode
		if op == ws.OpContinuation {
			op = ws.OpText
		}
		want += fmt.Sprintf("%d:%d ", op, len(f.Payload))
	}
	for _, size := range []int{0, 5, 125, 126, 300, 65535, 65536, 70000} {
		write(ws.NewFrame(ws.OpText, true, bytes.Repeat([]byte{0x7E}, size)))
	}
	write(ws.NewFrame(ws.OpText, false, []byte("begin")))
	write(ws.NewPingFrame([]byte("ping")))
	write(ws.NewFrame(ws.OpContinuation, true, []byte("end")))
	write(ws.NewCloseFrame(ws.NewCloseFrameBody(1008, "slow consumer")))
	return out.Bytes(), want
}

func TestFramesInPiecesOfAnySize(t *testing.T) {
	b, want := stream(t)
	for _, piece := range []int{1, 2, 3, 7, 1000, 65539, len(b)} {
		var f Frames
		got, size := "", 0
		for start := 0; start < len(b); start += piece {
			rest := b[start:min(start+piece, len(b))]
			for len(rest) > 0 {
				op, payload, after, done, ok, err := f.Next(rest)
				if err != nil {
					t.Fatal(err)
				}
				rest = after
				size += len(payload)
				if ok && done {
					got += fmt.Sprintf("%d:%d ", op, size)
					size = 0
				}
			}
		}
		if got != want {
			t.Errorf("in pieces of %d bytes:\n%s, want\n%s", piece, got, want)
		}
	}
}

func TestAMaskedFrameFromAServerIsAnError(t *testing.T) {
	var f Frames
	if _, _, _, _, _, err := f.Next(ClientFrame(OpText, []byte("x"))); err == nil {
		t.Error("no error")
	}
}

func TestFramesAllocatesNothing(t *testing.T) {
	b, _ := stream(t)
	if n := testing.AllocsPerRun(10, func() {
		var f Frames
		for rest := b; len(rest) > 0; {
			_, _, rest, _, _, _ = f.Next(rest)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
