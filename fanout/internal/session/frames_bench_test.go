package session

import (
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
)

// BenchmarkLargeFrames is how long the messages keep a loop busy that take the longest.
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
			h, bytes := handling(b), []byte(message)
			b.SetBytes(int64(len(bytes)))
			for b.Loop() {
				h.Message(bytes)
			}
		})
	}
}
