package wire

import (
	"fmt"
	"strings"
	"testing"
)

// Each message is acknowledged once, but for the last few, however the stream of frames is cut, and the next ones are
// asked for in time.
func TestJetStreamAcks(t *testing.T) {
	const messages = 1200
	var stream strings.Builder
	for i := range messages {
		fmt.Fprintf(&stream, "MSG grouped.a 2 $JS.ACK.BENCH.ingest.1.%d.%[1]d.17672220001.0 5\r\nhello\r\n", i)
	}
	for _, piece := range []int{1, 7, 64, 1000, stream.Len()} {
		acks := JetStream{}.Acks("ingest")
		var said strings.Builder
		for rest := stream.String(); rest != ""; {
			n := min(piece, len(rest))
			if frame := acks([]byte(rest[:n])); frame != nil {
				said.WriteString(unmasked(t, frame))
			}
			rest = rest[n:]
		}
		got := strings.Count(said.String(), "+ACK\r\n")
		if got > messages || got <= messages-acksTogether {
			t.Errorf("in pieces of %d: %d of %d messages are acknowledged", piece, got, messages)
		}
		for i := range got {
			if ack := fmt.Sprintf("PUB $JS.ACK.BENCH.ingest.1.%d.%[1]d.17672220001.0  4\r\n+ACK\r\n", i); strings.Count(said.String(), ack) != 1 {
				t.Fatalf("in pieces of %d: message %d is not acknowledged once", piece, i)
			}
		}
		if got := strings.Count(said.String(), "CONSUMER.MSG.NEXT.BENCH.ingest _INBOX.messages"); got != messages/pullsTogether {
			t.Errorf("in pieces of %d: %d requests for more", piece, got)
		}
	}
}

// unmasked is the payload of a client's frame.
func unmasked(t *testing.T, frame []byte) string {
	t.Helper()
	head := 2
	switch frame[1] &^ 0x80 {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	text := make([]byte, 0, len(frame))
	for _, c := range frame[head+4:] {
		text = append(text, c^maskByte)
	}
	return string(text)
}
