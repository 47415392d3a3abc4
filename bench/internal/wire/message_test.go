package wire

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"
)

func TestBodyIsJSONOfItsSize(t *testing.T) {
	for _, size := range []int{0, MinBody, 100, 4096} {
		b := Body(size)
		if want := max(size, MinBody); len(b) != want || !json.Valid(b) || bytes.Count(b, []byte{Marker}) != 1 {
			t.Errorf("Body(%d) = %d bytes %q; want %d bytes of JSON with one marker", size, len(b), b, want)
		}
	}
}

func TestStampsReadWhatStampWrote(t *testing.T) {
	plain := newMessage(Body(100))
	var stream []byte
	sent := []time.Duration{0, 1, 0xabcdef, 1<<62 + 12345}
	for _, at := range sent {
		stream = append(stream, plain.Stamp(at)...)
	}
	var read []time.Duration
	Stamps(stream, func(at time.Duration) { read = append(read, at) })
	if !slices.Equal(read, sent) {
		t.Errorf("read %v, want %v", read, sent)
	}
	read = nil
	Stamps(stream[:len(stream)-100+10], func(at time.Duration) { read = append(read, at) })
	if !slices.Equal(read, sent[:3]) {
		t.Errorf("of a stream cut inside its last stamp, read %v, want %v", read, sent[:3])
	}
}

func TestAMessageThatCannotBeCountedIsRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"no marker":            []byte(`{"t":"0123456789abcdef"}`),
		"two markers":          []byte(`{"t":"~0123456789abcdef~"}`),
		"no room for the time": []byte(`{"t":"~0123"}`),
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			newMessage(b)
		})
	}
}

func TestStampAllocatesNothing(t *testing.T) {
	m := framed(OpText, Body(100))
	if n := testing.AllocsPerRun(100, func() { m.Stamp(12345) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
