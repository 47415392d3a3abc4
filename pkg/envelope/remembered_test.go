package envelope

import (
	"fmt"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
)

// stored is a record as pkg/history/channel.lua publishes it.
func stored(place string, record []byte) []byte {
	return append([]byte("\x07"+place+"\n"), record...)
}

func TestRemembered(t *testing.T) {
	for _, m := range []Message{
		{Channel: "c", From: "p", Data: []byte("1")},
		{Channel: "c", From: "p", Data: []byte("1"), FromMetadata: []byte(`{"a":1}`), Connection: 1<<64 - 1},
		{Channel: strings.Repeat(`"`, 256), From: strings.Repeat("x", 128), Data: []byte(strings.Repeat("1", 65536)), FromMetadata: []byte("{" + strings.Repeat(" ", 65533) + "}")},
	} {
		id := ID{1<<64 - 1, 42}
		d := Delivery{Channel: m.Channel}
		if err := d.Decode(stored("abcdefgh01234567,57,1767222000123,20500", EncodeRecord(id, &m))); err != nil {
			t.Fatal(err)
		}
		if d.ID != id || d.Publisher != m.Connection || string(d.FromMetadata) != string(m.FromMetadata) || string(d.Data()) != string(m.Data) ||
			d.Position != (protocol.Position{Epoch: "abcdefgh01234567", Offset: 57}) {
			t.Errorf("got %+v of %d bytes, metadata %.100q", d.ID, len(d.Data()), d.FromMetadata)
		}
		body := string(protocol.AppendRemembered(nil, m.Channel, m.From, nil, m.Data, 57, false))
		if want := string(protocol.AppendTextHeader(nil, len(body))) + body; string(d.Frame) != want {
			t.Errorf("frame %.200q\nwant  %.200q", d.Frame, want)
		}
		body = string(protocol.AppendRemembered(nil, m.Channel, m.From, m.FromMetadata, m.Data, 57, false))
		if want := string(protocol.AppendTextHeader(nil, len(body))) + body; string(d.FrameWithMetadata()) != want {
			t.Errorf("frame with metadata %.200q\nwant  %.200q", d.FrameWithMetadata(), want)
		}
	}
}

// Anybody who can publish in Redis can send any bytes.
func TestHostileRemembered(t *testing.T) {
	record := EncodeRecord(ID{1, 2}, &Message{From: "p", Data: []byte("1"), FromMetadata: []byte(`{"a":1}`)})
	good := "abcdefgh01234567,57,1767222000123,20500"
	var d Delivery
	if err := d.Decode(stored(good, record)); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"", ",,,", "e,1,2", "e,1,2,3,4", "e,x,2,3", "e,1,x,3", ",1,2,3", "e,0,2,3", "e,-1,2,3", "e 1 2 3", "e,18446744073709551616,2,3"} {
		if err := d.Decode(stored(place, record)); err == nil {
			t.Errorf("%q is taken for a place", place)
		}
	}
	for n := range record {
		if err := d.Decode(stored(good, record[:n])); err == nil {
			t.Errorf("%d bytes of %d are taken for a record", n, len(record))
		}
	}
	long := append([]byte(nil), record...)
	for i, b := range map[int]byte{24: 255, 25: 255, 26: 255} {
		changed := append([]byte(nil), long...)
		changed[i] = b
		if err := d.Decode(stored(good, changed)); err == nil {
			t.Errorf("taken with %s", fmt.Sprint("byte ", i, " as ", b))
		}
	}
}

func FuzzParseRemembered(f *testing.F) {
	f.Add(stored("e,1,2,3", EncodeRecord(ID{1, 2}, &Message{From: "p", Data: []byte("1")})))
	f.Add([]byte("\x07e,1,2,3\n"))
	f.Fuzz(func(t *testing.T, e []byte) {
		r, err := ParseRemembered(e)
		if err != nil {
			return
		}
		if len(r.Data) == 0 || r.Position.Offset == 0 || r.Position.Epoch == "" || len(r.From)+len(r.FromMetadata)+len(r.Data) > len(e) {
			t.Errorf("%q is taken for %+v", e, r)
		}
	})
}
