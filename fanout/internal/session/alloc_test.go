package session

import (
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/publish"
)

type sink struct{}

func (sink) Submit(publish.Message, publish.Completion) *protocol.Error { return nil }

// handling is a session that publishes to nowhere, as the handler of its messages.
func handling(t testing.TB) *handler {
	w := newWorld(t)
	w.opt.Publisher = sink{}
	return (*handler)(w.connect(w.grant("camera-001")).session)
}

// What it takes to read a publish frame and hand it on: the channel's name, the
// requestId, and who is to be told of the outcome (1 allocation each). Everything
// else is done within the read buffer.
func TestPublishAllocates(t *testing.T) {
	const message = `{"type":"publish","channel":"devices/camera-001/events","data":{"kind":"motion","confidence":0.93}`
	for frame, want := range map[string]float64{
		message + `,"requestId":"pub-17"}`: 3,
		message + `}`:                      1,
	} {
		h, bytes := handling(t), []byte(frame)
		allocations := testing.AllocsPerRun(100, func() { h.Message(bytes) })
		if allocations > want {
			t.Errorf("%s\nallocates %v times, want at most %v", frame, allocations, want)
		}
	}
}

func BenchmarkPublishFrame(b *testing.B) {
	h := handling(b)
	bytes := []byte(`{"type":"publish","channel":"devices/camera-001/events","data":{"kind":"motion","confidence":0.93},"requestId":"pub-17"}`)
	b.ReportAllocs()
	for b.Loop() {
		h.Message(bytes)
	}
}
