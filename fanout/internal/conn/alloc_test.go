package conn

import (
	"runtime"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
)

const command = `{"type":"message","channel":"devices/camera-001/commands","from":"server","data":{"cmd":"reboot"}}`

// A delivered message costs the heap nothing: the frame is shared, and queue and
// write reuse what they have.
func TestDeliveryAllocates(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	p.Want(alive)
	frame := framed(command)
	sequence := uint64(0)
	allocations := testing.AllocsPerRun(200, func() { // 20 kB: the socket takes it all at once
		sequence++
		p.conn.Append(frame, sequence)
		p.conn.Flush()
	})
	if allocations > 0 {
		t.Errorf("Append and Flush allocate %v times, want 0", allocations)
	}
	for range sequence {
		p.Read()
	}
}

// nothing is a Handler that does nothing.
type nothing struct{}

func (nothing) Admit(time.Duration) *protocol.CloseError { return nil }
func (nothing) Message([]byte)                           {}
func (nothing) Ending(Ended)                             {}
func (nothing) Closed(Ended)                             {}

// Taking a frame apart costs the heap nothing.
func TestFrameAllocates(t *testing.T) {
	w := newWorld(t)
	p := w.open(wiring{})
	defer p.conn.sock.close()
	p.conn.handler = nothing{}
	frame := conntest.Plain(ws.OpText, command)
	allocations := testing.AllocsPerRun(100, func() {
		if n, err := p.conn.next(frame, 0); n != len(frame) || err != nil {
			t.Fatalf("took %d of %d bytes, error %v", n, len(frame), err)
		}
	})
	if allocations > 0 {
		t.Errorf("allocates %v times, want 0", allocations)
	}
}

func BenchmarkDelivery(b *testing.B) {
	w := newWorld(b)
	p := w.connect()
	go func() {
		sink := make([]byte, 1<<16)
		for {
			if _, err := p.Conn.Read(sink); err != nil {
				return
			}
		}
	}()
	frame := framed(command)
	b.ReportAllocs()
	for sequence := uint64(1); b.Loop(); sequence++ {
		if queued, _ := p.conn.Append(frame, sequence); !queued {
			b.Fatal("the connection is over")
		}
		p.conn.Flush()
		for p.unsent() > 0 {
			runtime.Gosched()
		}
	}
}

// BenchmarkFrame is what a frame costs before its message is handled.
func BenchmarkFrame(b *testing.B) {
	for name, message := range map[string]string{"small": command, "large": messageOf(60_000)} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			p := w.open(wiring{})
			defer p.conn.sock.close()
			p.conn.handler = nothing{}
			frame := conntest.Plain(ws.OpText, message)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.conn.next(frame, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
