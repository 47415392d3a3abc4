package envelope

import (
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
)

func TestCommandEnvelope(t *testing.T) {
	for _, data := range []string{"1", `{"a":[1]}`, strings.Repeat("1", 65536)} {
		about := Command{ID: "cmd_1", Timeout: 30 * time.Second, TTL: time.Minute}
		m := &Message{App: "app", Channel: "c/\"x", From: "p", Data: []byte(data)}
		e := EncodeCommand(ID{1<<64 - 1, 1<<64 - 1}, about, m)
		var d Delivery
		if err := d.Decode(e); err != nil {
			t.Fatal(err)
		}
		about.Stage = CommandCreated
		if d.ID != (ID{1<<64 - 1, 1<<63 - 1}) || *d.Command != about || string(d.Data()) != data || len(d.FromMetadata) > 0 || d.Publisher != 0 {
			t.Errorf("got %+v with %+v", d.ID, d.Command)
		}
		// claim.lua makes this of it.
		shown := append([]byte{3}, e[1:]...)
		shown[9] = 128
		var again Delivery
		if err := again.Decode(shown); err != nil || again.Command.Stage != CommandHandedOver || again.ID == d.ID || string(again.Frame) != string(d.Frame) {
			t.Errorf("shown: %+v %v", again.Command, err)
		}
		body := string(protocol.AppendMessage(nil, m.Channel, m.From, nil, m.Data))
		want := strings.TrimSuffix(body, "}") + `,"command":{"id":"cmd_1","attempt":2,"expiresInMs":5,"timeoutMs":30000}}`
		frame := d.CommandFrame(protocol.CommandRef{ID: "cmd_1", Attempt: 2, ExpiresInMs: 5, TimeoutMs: 30000})
		if wantFrame := string(protocol.AppendTextHeader(nil, len(want))) + want; string(frame) != wantFrame {
			t.Errorf("frame %.200q\nwant  %.200q", frame, wantFrame)
		}
	}
	var d Delivery
	if err := d.Decode(EncodeCancelled(ID{1, 2}, "cmd_1")); err != nil || d.Command.Stage != CommandCancelled || d.Command.ID != "cmd_1" ||
		!strings.HasSuffix(string(d.Frame), `{"type":"command_cancelled","command":"cmd_1"}`) {
		t.Errorf("%+v %q %v", d.Command, d.Frame, err)
	}
}

// Anybody who can publish in Redis can send any bytes. Decode refuses them, or reads them.
func TestHostileCommandEnvelopes(t *testing.T) {
	good := EncodeCommand(ID{1, 2}, Command{ID: "cmd_1"}, &Message{Channel: "c", From: "p", Data: []byte("1")})
	for name, about := range map[string]string{"no id": " 1 2", "no numbers": "x", "one number": "cmd_1 1", "no number": "cmd_1 x 2", "a third": "cmd_1 1 2 3"} {
		m := &Message{Channel: "c", From: "p", Data: []byte("1"), FromMetadata: []byte(about)}
		e := Encode(ID{1, 2}, m)
		e[0] = commandVersion
		var d Delivery
		if err := d.Decode(e); err == nil {
			t.Errorf("%s: taken for %+v", name, d.Command)
		}
	}
	for n := range good {
		var d Delivery
		if err := d.Decode(good[:n]); err == nil && n < envelopeHeaderSize {
			t.Errorf("%d bytes are taken for %+v", n, d.Command)
		}
	}
}
