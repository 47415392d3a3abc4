package eventstream

import (
	"encoding/binary"
	"iter"
	"sync/atomic"

	"fleetwire/pkg/events"
)

// textFrame is the first byte of a whole text frame, as nodes send it (RFC 6455 §5.2).
const textFrame = 0x81

// bodies are those of the text frames that lie behind each other in sent.
func bodies(sent []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(sent) >= 2 {
			length, header := uint64(sent[1]), 2
			switch {
			case length == 126 && len(sent) >= 4:
				length, header = uint64(binary.BigEndian.Uint16(sent[2:])), 4
			case length == 127 && len(sent) >= 10:
				length, header = binary.BigEndian.Uint64(sent[2:]), 10
			}
			if length > uint64(len(sent)-header) {
				return
			}
			body := sent[header:][:length]
			if sent[0] == textFrame && !yield(body) {
				return
			}
			sent = sent[header+int(length):]
		}
	}
}

// In and Out tell of a frame that a peer has sent, and of frames, with their headers, that it is sent.
func (t *Teller) In(app, peer string, connection uint64, frame []byte) {
	t.frame(app, peer, connection, "in", frame)
}

// Out is beside In.
func (t *Teller) Out(app, peer string, connection uint64, sent []byte) {
	for frame := range bodies(sent) {
		t.frame(app, peer, connection, "out", frame)
	}
}

func (t *Teller) frame(app, peer string, connection uint64, direction string, frame []byte) {
	t.Tell(app, peer, events.Frame, func() events.Event {
		shown, truncated := events.ShowFrame(frame)
		return events.Event{Connection: t.Connection(connection), Direction: direction, Frame: shown, Truncated: truncated}
	})
}

// Frames is true while frames are watched: callers need not tell of them else.
func (t *Teller) Frames() *atomic.Bool { return &t.frames }
