package protocol

import (
	"encoding/json"
	"strings"
	"testing"
)

// publishFrame is what a device's telemetry looks like, its fields in the order in which the published JavaScript client writes them.
var publishFrame = []byte(`{"type":"publish","channel":"devices/camera-001/events","data":{"kind":"motion","confidence":0.93,"zone":"loading-dock","ts":1767222000123,"box":[12,40,220,310]},"requestId":"pub-17"}`)

func BenchmarkDecode(b *testing.B) {
	frames := map[string][]byte{
		"publish":   publishFrame,
		"subscribe": []byte(`{"type":"subscribe","channel":"devices/camera-001/commands","requestId":"sub-1"}`),
		"ping":      []byte(`{"type":"ping"}`),
		"publish60KiB": []byte(`{"type":"publish","channel":"devices/camera-001/frames","data":"` +
			strings.Repeat("aGVsbG8gd29ybGQh", 60<<10/16) + `","requestId":"pub-18"}`),
	}
	for name, frame := range frames {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			var f ClientFrame
			for b.Loop() {
				if err := Decode(frame, &f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecodeEncodingJSON is what Decode is measured against.
func BenchmarkDecodeEncodingJSON(b *testing.B) {
	b.SetBytes(int64(len(publishFrame)))
	b.ReportAllocs()
	for b.Loop() {
		var f struct {
			Type, RequestID, Channel string
			Data                     json.RawMessage
		}
		if err := json.Unmarshal(publishFrame, &f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	data := []byte(`{"kind":"motion","confidence":0.93,"zone":"loading-dock","ts":1767222000123}`)
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendMessage(buf[:0], "devices/camera-001/events", "device-camera-001", nil, data)
	}
}
