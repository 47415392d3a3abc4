package session

import (
	"strings"
	"testing"

	"fleetwire/pkg/protocol"
)

// BenchmarkLargeFrames is how long the frames keep a loop busy that take the longest.
func BenchmarkLargeFrames(b *testing.B) {
	publishing := func(data string) string {
		return `{"type":"publish","channel":"devices/a","data":` + data + `}`
	}
	room := protocol.MaxFrameBytes - 100
	nested := strings.Repeat("[", 120) + strings.Repeat("]", 120) + ","
	for title, message := range map[string]string{
		"one text":          publishing(`"` + strings.Repeat("x", room) + `"`),
		"text of escapes":   publishing(`"` + strings.Repeat(`\u00e9`, room/6) + `"`),
		"other characters":  publishing(`"` + strings.Repeat(`é`, room/2) + `"`),
		"numbers":           publishing(`[` + strings.Repeat("1,", room/2-1) + `1]`),
		"nested":            publishing(`[` + strings.Repeat(nested, room/len(nested)) + `1]`),
		"members":           publishing(`{` + strings.Repeat(`"a":1,`, room/6-1) + `"a":1}`),
		"unknown members":   `{` + strings.Repeat(`"a":1,`, room/6) + `"type":"ping"}`,
		"a long channel":    `{"type":"subscribe","channel":"` + strings.Repeat("x", room) + `"}`,
		"a long escaped id": `{"type":"ping","requestId":"` + strings.Repeat(`\u00e9`, room/6) + `"}`,
	} {
		b.Run(title, func(b *testing.B) {
			w := newWorld(b)
			w.opt.Publisher = sink{}
			_, conn := w.dial(wiring{})
			defer conn.Close()
			s, err := New(&w.opt, 1, w.limited("camera-001", 1e9, 1e9), conn, "", nil, nil)
			check(b, err)
			bytes := text(message)
			work := make([]byte, len(bytes))
			b.SetBytes(int64(len(bytes)))
			for b.Loop() {
				copy(work, bytes) // which is unmasked in place
				if _, err := s.next(work, 0); err != nil {
					b.Fatal(err)
				}
				s.out.frames, s.out.bytes = nil, 0
			}
		})
	}
}
