package envelope

import (
	"encoding/binary"
	"strings"
	"testing"
)

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, m := range []Message{
		{Channel: "c", From: "p", Data: []byte("1")},
		{Channel: "c", From: "p", Data: []byte("1"), FromMetadata: []byte("{}"), Connection: 1<<64 - 1},
		{Channel: strings.Repeat(`"`, 256), From: strings.Repeat(`\`, 128), Data: []byte(strings.Repeat("1", 65536)), FromMetadata: []byte("{" + strings.Repeat(" ", 65533) + "}")},
	} {
		var d Delivery
		if err := d.Decode(Encode(ID{1<<64 - 1, 42}, &m)); err != nil {
			t.Fatal(err)
		}
		if d.ID != (ID{1<<64 - 1, 42}) || d.Publisher != m.Connection || d.dataLen != len(m.Data) || string(d.FromMetadata) != string(m.FromMetadata) {
			t.Errorf("got %d/%d/%d, %d bytes of data, metadata %.100q", d.ID.Process, d.ID.Sequence, d.Publisher, d.dataLen, d.FromMetadata)
		}
		if cap(d.FromMetadata) != len(d.FromMetadata) {
			t.Error("appending to the metadata would write into the frame")
		}
	}
}

// hostileEnvelopes is what somebody else could publish on a Redis channel of ours.
func hostileEnvelopes() map[string][]byte {
	good := Encode(ID{1, 2}, &Message{Channel: "c", From: "p", Data: []byte("12345"), FromMetadata: []byte(`{"a":1}`)})
	change := func(f func(e []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	return map[string][]byte{
		"empty":                    {},
		"text":                     []byte("hello, this is a text that is longer than an envelope's header"),
		"another version":          change(func(e []byte) []byte { e[0] = 2; return e }),
		"header alone":             good[:envelopeHeaderSize],
		"header and one byte":      good[:envelopeHeaderSize+1],
		"metadata longer than all": change(func(e []byte) []byte { binary.BigEndian.PutUint16(e[29:], 65535); return e }),
		"metadata up to the end":   change(func(e []byte) []byte { binary.BigEndian.PutUint16(e[29:], uint16(len(e)-envelopeHeaderSize)); return e }),
		"metadata but for one byte": change(func(e []byte) []byte {
			binary.BigEndian.PutUint16(e[29:], uint16(len(e)-envelopeHeaderSize-1))
			return e
		}),
		"data longer than all":      change(func(e []byte) []byte { binary.BigEndian.PutUint32(e[25:], 1<<32-1); return e }),
		"data longer than the body": change(func(e []byte) []byte { binary.BigEndian.PutUint32(e[25:], uint32(len(e))); return e }),
		"frame header of ten bytes, cut short": change(func(e []byte) []byte {
			e = append(e[:envelopeHeaderSize], 0x81, 127, 0)
			binary.BigEndian.PutUint16(e[29:], 0)
			return e
		}),
	}
}

func TestHostileEnvelopes(t *testing.T) {
	for name, e := range hostileEnvelopes() {
		var d Delivery
		if err := d.Decode(e); err == nil {
			t.Errorf("%s: taken for a message", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range hostileEnvelopes() {
		f.Add(e)
	}
	for _, size := range []int{0, 125, 126, 65535, 65536} {
		f.Add(Encode(ID{1, 2}, &Message{Channel: "c", Data: []byte(strings.Repeat("1", size)), FromMetadata: []byte("{}")}))
	}
	f.Fuzz(func(t *testing.T, e []byte) {
		var d Delivery
		if d.Decode(e) != nil {
			return
		}
		if want := len(e) - envelopeHeaderSize; len(d.FromMetadata)+len(d.Frame) != want {
			t.Errorf("%d bytes of metadata and %d of frame, want %d in all", len(d.FromMetadata), len(d.Frame), want)
		}
		if got := d.FrameWithMetadata(); len(d.FromMetadata) > 0 && len(got) < len(d.body())+len(d.FromMetadata) {
			t.Errorf("the frame with metadata is %d bytes, the body alone %d", len(got), len(d.body()))
		}
	})
}

// A message costs one allocation for what travels.
func TestEncodeAllocates(t *testing.T) {
	m := &Message{App: "app_a", Channel: "devices/camera-001/events", From: "camera-001", Data: make([]byte, 100)}
	if n := testing.AllocsPerRun(100, func() { Encode(ID{1, 2}, m) }); n > 1 {
		t.Errorf("Encode allocates %v times, want once", n)
	}
}
