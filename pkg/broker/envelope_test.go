package broker

import (
	"context"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, m := range []Message{
		{Channel: "c", From: "p", Data: []byte("1")},
		{Channel: "c", From: "p", Data: []byte("1"), FromMetadata: []byte("{}"), Connection: 1<<64 - 1},
		{Channel: strings.Repeat(`"`, 256), From: strings.Repeat(`\`, 128), Data: []byte(strings.Repeat("1", 65536)), FromMetadata: []byte("{" + strings.Repeat(" ", 65533) + "}")},
	} {
		var d Delivery
		if err := decode(encode(1<<64-1, 42, &m), &d); err != nil {
			t.Fatal(err)
		}
		if d.process != 1<<64-1 || d.sequence != 42 || d.Publisher != m.Connection || d.dataLen != len(m.Data) || string(d.FromMetadata) != string(m.FromMetadata) {
			t.Errorf("got %d/%d/%d, %d bytes of data, metadata %.100q", d.process, d.sequence, d.Publisher, d.dataLen, d.FromMetadata)
		}
		if cap(d.FromMetadata) != len(d.FromMetadata) {
			t.Error("appending to the metadata would write into the frame")
		}
	}
}

// hostileEnvelopes is what somebody else could publish on a Redis channel of ours.
func hostileEnvelopes() map[string][]byte {
	good := encode(1, 2, &Message{Channel: "c", From: "p", Data: []byte("12345"), FromMetadata: []byte(`{"a":1}`)})
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
		if err := decode(e, &d); err == nil {
			t.Errorf("%s: taken for a message", name)
		}
	}
}

// TestForeignMessagesInRedis: they are dropped, and what follows arrives.
func TestForeignMessagesInRedis(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	log := slog.New(slog.DiscardHandler)
	b := New(Options{Redis: rdb, Health: redisconn.NewHealth(log), Log: log, Node: "node"})
	_ = b.interests.setPattern(KindMessages, "app", "*", true, nil)
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan Delivery, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Run(ctx, func(batch []Delivery) int {
			for _, d := range batch {
				got <- d
			}
			return len(batch)
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	redistest.Eventually(t, 5*time.Second, "the link is up", b.Live)
	for _, e := range hostileEnvelopes() {
		rdb.Publish(ctx, keys.Topic(KindMessages, "app", "c"), e)
	}
	good := encode(1, 2, &Message{Channel: "c", From: "p", Data: []byte("1")})
	for _, topic := range []string{"fw:0:msg:{app.021}:not the tag of this name", "fw:0:msg:{app.   }:c", "fw:0:msg:{app.021}:"} {
		if n := rdb.Publish(ctx, topic, good).Val(); n != 1 {
			t.Errorf("%s reaches %d subscribers, want the node", topic, n)
		}
	}
	rdb.Publish(ctx, keys.Topic(KindMessages, "app", "the end"), good)
	select {
	case d := <-got:
		if d.Channel != "the end" {
			t.Errorf("a message for %q of %q was delivered", d.Channel, d.App)
		}
	case <-time.After(5 * time.Second):
		t.Error("what came after the foreign messages was not delivered")
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range hostileEnvelopes() {
		f.Add(e)
	}
	for _, size := range []int{0, 125, 126, 65535, 65536} {
		f.Add(encode(1, 2, &Message{Channel: "c", Data: []byte(strings.Repeat("1", size)), FromMetadata: []byte("{}")}))
	}
	f.Fuzz(func(t *testing.T, e []byte) {
		var d Delivery
		if decode(e, &d) != nil {
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

// A message costs one allocation for what travels, and one for where.
func TestPrepareAllocates(t *testing.T) {
	m := &Message{App: "app_a", Channel: "devices/camera-001/events", From: "camera-001", Data: make([]byte, 100)}
	if n := testing.AllocsPerRun(100, func() { encode(1, 2, m) }); n > 1 {
		t.Errorf("encode allocates %v times, want once", n)
	}
	if n := testing.AllocsPerRun(100, func() { keys.Topic(KindMessages, m.App, m.Channel) }); n > 1 {
		t.Errorf("topic allocates %v times, want once", n)
	}
}
