package protocol

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

func TestAppendTextFrame(t *testing.T) {
	tests := []struct {
		name   string
		length int
		header []byte
	}{
		{"empty", 0, []byte{0x81, 0}},
		{"one byte", 1, []byte{0x81, 1}},
		{"longest with a length of 7 bits", 125, []byte{0x81, 125}},
		{"shortest with a length of 16 bits", 126, []byte{0x81, 126, 0, 126}},
		{"127 is no length of 7 bits", 127, []byte{0x81, 126, 0, 127}},
		{"16 bits, both bytes", 0x1234, []byte{0x81, 126, 0x12, 0x34}},
		{"longest with a length of 16 bits", 0xFFFF, []byte{0x81, 126, 0xFF, 0xFF}},
		{"shortest with a length of 64 bits", 0x10000, []byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
		{"64 bits, more than one byte", 0x10203, []byte{0x81, 127, 0, 0, 0, 0, 0, 1, 2, 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := bytes.Repeat([]byte("a"), tt.length)
			want := append(append([]byte("x"), tt.header...), body...)
			if got := AppendTextFrame([]byte("x"), body); !bytes.Equal(got, want) {
				t.Errorf("the frame begins %x (%d bytes), want %x (%d bytes)", got[:min(len(got), 12)], len(got), want[:min(len(want), 12)], len(want))
			}
			if got := AppendTextHeader([]byte("x"), tt.length); !bytes.Equal(got, want[:1+len(tt.header)]) {
				t.Errorf("the header is %x, want %x", got, want[:1+len(tt.header)])
			}
		})
	}
}

func TestAppendCloseFrame(t *testing.T) {
	tests := []struct {
		name   string
		code   CloseCode
		reason string
		want   string
	}{
		{"with a reason", ClosePolicy, ReasonSlowConsumer, "\x88\x0f\x03\xf0slow consumer"},
		{"with the code's own reason", CloseExpired, "", "\x88\x0f\x0f\xa2token expired"},
		{"a code outside the table has no reason", 4999, "", "\x88\x02\x13\x87"},
		{"longest reason", CloseGoingAway, strings.Repeat("a", 123), "\x88\x7d\x03\xe9" + strings.Repeat("a", 123)},
		{"reason too long", CloseGoingAway, strings.Repeat("é", 100), "\x88\x7c\x03\xe9" + strings.Repeat("é", 61)},
		{"reason not UTF-8", CloseGoingAway, "\xff", "\x88\x05\x03\xe9\uFFFD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(AppendCloseFrame([]byte("x"), tt.code, tt.reason)); got != "x"+tt.want {
				t.Errorf("got %q, want %q", got, "x"+tt.want)
			}
		})
	}
}

// Every close code of the table makes a control frame that RFC 6455 §5.5 allows.
func TestEveryCloseCodeMakesALegalFrame(t *testing.T) {
	for _, info := range CloseCodes() {
		frame := AppendCloseFrame(nil, info.Code, "")
		if frame[0] != 0x88 || int(frame[1]) != len(frame)-2 || frame[1] > 125 {
			t.Errorf("%d: illegal frame %q", info.Code, frame)
		}
		if code := CloseCode(binary.BigEndian.Uint16(frame[2:])); code != info.Code || string(frame[4:]) != info.Reason {
			t.Errorf("%d %q: the frame says %d %q", info.Code, info.Reason, code, frame[4:])
		}
	}
}

func TestAppendPongFrame(t *testing.T) {
	tests := []struct{ name, payload, want string }{
		{"empty", "", "\x8a\x00"},
		{"any bytes", "\x00\xff", "\x8a\x02\x00\xff"},
		{"longest", strings.Repeat("a", 125), "\x8a\x7d" + strings.Repeat("a", 125)},
		{"too long is cut", strings.Repeat("a", 126), "\x8a\x7d" + strings.Repeat("a", 125)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(AppendPongFrame([]byte("x"), []byte(tt.payload))); got != "x"+tt.want {
				t.Errorf("got %q, want %q", got, "x"+tt.want)
			}
		})
	}
}

func TestPingFrame(t *testing.T) {
	if string(PingFrame) != "\x89\x00" {
		t.Errorf("PingFrame is %x, want 8900", PingFrame)
	}
}
