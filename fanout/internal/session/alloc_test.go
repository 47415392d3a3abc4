package session

import (
	"runtime"
	"testing"

	"github.com/gobwas/ws"

	"fleetwire/pkg/protocol"
	"fleetwire/pkg/publish"
)

// A delivered message costs the heap nothing: the frame is shared, and queue and
// write reuse what they have.
func TestDeliveryAllocates(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	frame := delivery("devices/camera-001/commands", `{"cmd":"reboot"}`).Frame
	sequence := uint64(0)
	allocations := testing.AllocsPerRun(200, func() { // 20 kB: the socket takes it all at once
		sequence++
		p.session.Append(frame, sequence)
		p.session.Flush()
	})
	if allocations > 0 {
		t.Errorf("Append and Flush allocate %v times, want 0", allocations)
	}
	for range sequence {
		p.read()
	}
}

type sink struct{}

func (sink) Submit(publish.Message, publish.Completion) *protocol.Error { return nil }

// What it takes to read a publish frame and hand it on: the channel's name, the
// requestId, and who is to be told of the outcome (1 allocation each). Everything
// else is done within the read buffer.
func TestPublishAllocates(t *testing.T) {
	const message = `{"type":"publish","channel":"devices/camera-001/events","data":{"kind":"motion","confidence":0.93}`
	for frame, want := range map[string]float64{
		message + `,"requestId":"pub-17"}`: 3,
		message + `}`:                      1,
	} {
		w := newWorld(t)
		w.opt.Publisher = sink{}
		_, conn := w.dial(wiring{})
		defer conn.Close()
		s, err := New(&w.opt, 1, w.grant("camera-001"), conn, "", nil, nil)
		check(t, err)
		bytes := plain(ws.OpText, frame)
		allocations := testing.AllocsPerRun(100, func() {
			if n, err := s.next(bytes, w.clock.ticks()); n != len(bytes) || err != nil {
				t.Fatalf("took %d of %d bytes, error %v", n, len(bytes), err)
			}
		})
		if allocations > want {
			t.Errorf("%s\nallocates %v times, want at most %v", frame, allocations, want)
		}
	}
}

func BenchmarkDelivery(b *testing.B) {
	w := newWorld(b)
	p := w.connect(w.grant("device-1"))
	go func() {
		sink := make([]byte, 1<<16)
		for {
			if _, err := p.conn.Read(sink); err != nil {
				return
			}
		}
	}()
	frame := delivery("devices/camera-001/commands", `{"cmd":"reboot"}`).Frame
	b.ReportAllocs()
	for sequence := uint64(1); b.Loop(); sequence++ {
		if queued, _ := p.session.Append(frame, sequence); !queued {
			b.Fatal("the connection is over")
		}
		p.session.Flush()
		for p.unsent() > 0 {
			runtime.Gosched()
		}
	}
}

func BenchmarkPublishFrame(b *testing.B) {
	w := newWorld(b)
	w.opt.Publisher = sink{}
	_, conn := w.dial(wiring{})
	defer conn.Close()
	s, err := New(&w.opt, 1, w.limited("camera-001", 1e9, 1e9), conn, "", nil, nil)
	check(b, err)
	bytes := plain(ws.OpText, `{"type":"publish","channel":"devices/camera-001/events","data":{"kind":"motion","confidence":0.93},"requestId":"pub-17"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.next(bytes, w.clock.ticks()); err != nil {
			b.Fatal(err)
		}
	}
}
